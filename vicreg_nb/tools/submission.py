# Generated from nbs/93_submission.py by `make export`. Do not edit: edit the notebook.
# cells nbs/93_submission.py bd7161c9ac2740e9
# text 959ea8b38db00826

"""93 · The submission."""

import argparse
import ast
import re
import sys
import tempfile
import textwrap
import tomllib
import zipfile
from pathlib import Path

import vicreg_nb
from vicreg_nb.config import UserError, atomic, code_digest, project_root
from vicreg_nb.run_all import STAGES
from vicreg_nb.tools.report import QUESTIONS, build, load_results, missing, warning


def checked_words(name: str, username: str, statement_file: str) -> tuple[str, str, str]:
    """(name, username, statement), or UserError for the first that is missing."""
    name, username = name.strip(), username.strip()
    if not name or not name.isprintable():
        raise UserError(f'The name is {name!r}: give yours in one line, --name "...".')
    if not re.fullmatch(r"[\w.@+-]+", username):
        raise UserError(f"The username is {username!r}: give your CSE username, one word, --username ....")
    return name, username, read_statement(statement_file)


def read_statement(path: str) -> str:
    """The statement on automatic tools; UserError where there is no text in the file."""
    advice = "write in a text file how you used automatic tools and what for (or that you used none), and give it with --tools-statement FILE"
    if not path:
        raise UserError(f"The statement on automatic tools is missing, and the exercise requires one: {advice}.")
    try:
        statement = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The statement {path} cannot be read ({type(error).__name__}): {advice}.") from None
    if not re.search(r"\w", statement):
        raise UserError(f"The statement {path} is empty, and the exercise requires one: {advice}.")
    return statement


def checked_results(folder: Path) -> dict:
    """results.json of a whole, real run of this very code; UserError otherwise."""
    results = load_results(folder)
    if warning(results["header"]):
        raise UserError(
            f"This run cannot be handed in ({warning(results['header'])}): run `python -m vicreg_nb.run_all --dataset cifar10` with profile exercise or quick."
        )
    if missing(results):
        raise UserError(
            f"This run has not answered {', '.join(missing(results))}: run `python -m vicreg_nb.run_all` to its end first."
        )
    if results["header"].get("code") != code_digest():
        raise UserError(
            "The results are older than the code (the package has changed since the run): run `python -m vicreg_nb.run_all` again."
        )
    return results


ALLOWED = {
    "numpy",
    "scipy",
    "sklearn",
    "faiss",
    "torch",
    "torchvision",
    "matplotlib",
    "tensorboard",
    "wandb",
    "pandas",
    "plotly",
    "tqdm",
}


def forbidden_imports(path: Path) -> list[str]:
    """Imports in a module of the package that the exercise does not allow, as "module.py, line 3: name".

    The modules of `tools`, which stay out, may be named inside a function only: such code is not reached without them.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        for name in _imported(node):
            own = name.startswith(".") and (not name.startswith(".tools") or id(node) in inner)
            if not own and name.split(".")[0] not in ALLOWED | sys.stdlib_module_names:
                found.append(f"{path.name}, line {node.lineno}: {name}")
    return found


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or alias.name) for alias in node.names]
    return []


def package_modules() -> list[Path]:
    """The package's modules that are handed in: all but `tools`."""
    return sorted(Path(vicreg_nb.__file__).parent.glob("*.py"))


def marked(source: str, name: str, username: str, statement: str) -> str:
    """A module's source with who hands it in, and the statement on automatic tools, in comments on top of it."""
    lines = [f"Handed in by {name} ({username}).", "On automatic tools:"]
    for paragraph in statement.splitlines():
        lines += textwrap.wrap(paragraph, 100, initial_indent="  ", subsequent_indent="  ") or [""]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n" + source


README = """\
# VICReg, peeled back to Laplacian Eigenmaps

Exercise 3, Self-Supervised and Unsupervised Learning (67912, Advanced Course in Machine Learning)

Name: {name}
CSE username: {username}

## What is here
- `report.pdf`: the answers, each marked with its question's number. Its results come from profile {profile}, seed {seed}.
- `requirements.txt`: the libraries, all of them on the exercise's list.
- `vicreg_nb/`: the code.

{modules}

## How to run it
    python -m pip install -r requirements.txt
    python -m vicreg_nb.run_all --profile smoke      # everything once, on small drawn images, as a test
    python -m vicreg_nb.run_all --profile {profile:<10} # what the report rests on
    python -m vicreg_nb.run_all --help

CIFAR-10 and MNIST are downloaded by torchvision on first use. Numbers go to `results.json`, pictures to `figures/`,
weights to `runs/`. A run that was broken off goes on where it stopped.
"""
ABOUT = {
    "config": "settings, profiles, random streams, figures' style",
    "data": "CIFAR-10, MNIST and the small drawn images",
    "views": "the augmentations T, in batches",
    "vicreg": "encoder, projector and the loss, Eq. 2-6",
    "run_all": "runs everything",
}


def readme_text(name: str, username: str, header: dict, modules: list[Path]) -> str:
    """README.md of the submission; what each module holds comes from the stages of `run_all`."""
    asked = {stage.module: "; ".join(QUESTIONS[question] for question in stage.questions) for stage in STAGES}
    told = {path.stem: asked.get(path.stem) or ABOUT.get(path.stem) for path in modules}
    lines = [f"  - `{module}.py`: {text}" for module, text in told.items() if text]
    return README.format(
        name=name, username=username, profile=header["profile"], seed=header["seed"], modules="\n".join(lines)
    )


def requirements_text() -> str:
    """The package's own requirements, from pyproject.toml."""
    with open(Path(vicreg_nb.__file__).parent.parent / "pyproject.toml", "rb") as file:
        return "".join(f"{name}\n" for name in tomllib.load(file)["project"]["dependencies"])


def make_submission(folder: Path, name: str, username: str, statement_file: str) -> Path:
    """Write submission.zip beside a run's results.json; returns its path. UserError with the reason where it must not be."""
    folder = Path(folder)
    name, username, statement = checked_words(name, username, statement_file)
    results, modules = checked_results(folder), package_modules()
    forbidden = [fault for path in modules for fault in forbidden_imports(path)]
    if forbidden:
        raise UserError(
            f"The exercise does not allow this import: {forbidden[0]}; keep to {', '.join(sorted(ALLOWED))}."
        )
    files = {
        "README.md": readme_text(name, username, results["header"], modules).encode(),
        "requirements.txt": requirements_text().encode(),
        "report.pdf": _report(folder, f"{name} ({username})", statement),
    }
    files |= {
        f"vicreg_nb/{path.name}": marked(path.read_text(encoding="utf-8"), name, username, statement).encode()
        for path in modules
    }
    return atomic(folder / "submission.zip", lambda path: write_zip(path, files))


def _report(folder, author, statement):
    with tempfile.TemporaryDirectory() as scratch:
        return build(folder, author, statement, Path(scratch) / "report.pdf").read_bytes()


def write_zip(path: Path, files: dict):
    """A zip of {name: bytes}, without dates."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16  # readable once it is unpacked
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)


def main(arguments: list = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vicreg_nb.tools.submission",
        description="Make submission.zip, as the exercise's Sec. 5.2 describes it.",
    )
    parser.add_argument("--name", default="", help="your name")
    parser.add_argument("--username", default="", help="your CSE username")
    parser.add_argument(
        "--tools-statement",
        default="",
        metavar="FILE",
        help="a text on how you used automatic tools; the exercise requires one",
    )
    parser.add_argument(
        "--out",
        default="",
        metavar="FOLDER",
        help="folder of the run: results.json and figures/ (default: the project's folder)",
    )
    options = parser.parse_args(arguments)
    try:
        print(
            make_submission(
                Path(options.out).expanduser() if options.out else project_root(),
                options.name,
                options.username,
                options.tools_statement,
            )
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())
