# %% [markdown]
# # 93 · The submission
# What does the exercise want in the zip, and what must not be in it? Its Sec. 5 asks for plain Python without
# notebooks, with no other libraries than those it lists, a README with name and username, the report, and a statement
# on automatic tools, in the report and in the code. `python -m vicreg_nb.tools.submission` makes that zip, or says in
# one sentence why it does not.

# %%
#| default_exp tools.submission

# %%
#| export
import argparse
import ast
import re
import sys
import tempfile
import textwrap
import tomllib
import zipfile
from pathlib import Path

from vicreg_nb.book import all_questions, changes, chapters, code_digest, package_folder, questions_of
from vicreg_nb.config import checked_folder, make_config
from vicreg_nb.run_all import Job, imported_names, is_done, noted_images, stages
from vicreg_nb.store import UserError, atomic, regular
from vicreg_nb.tools.report import build, load_results, number, warning

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
out: str = ""  # folder with results.json and figures; empty: the project's folder

# %%
from vicreg_nb.config import notebook_config

cfg = notebook_config(globals())

# %% [markdown]
# ## Who, and with what help
# Name, username and statement are needed before anything is built.


# %%
#| export
def checked_words(name: str, username: str, statement_file: str) -> tuple[str, str, str]:
    """(name, username, statement), or UserError for the first that is missing."""
    name, username = name.strip(), username.strip()
    if not name or not name.isprintable():
        raise UserError(f'The name is {name!r}: give yours in one line, --name "...".')
    if not re.fullmatch(r"[\w.@+-]+", username):
        raise UserError(f"The username is {username!r}: give your CSE username, one word, --username ....")
    return name, username, _statement(statement_file)


def _statement(path):
    advice = "write how you used automatic tools and what for, or that you used none: --tools-statement FILE"
    if not path:
        raise UserError(f"The statement on automatic tools is missing, and the exercise requires one: {advice}.")
    try:
        statement = regular(Path(path).expanduser(), 10**6).read_text(encoding="utf-8").strip()
    except (OSError, RuntimeError, ValueError) as error:  # no such user's home, not UTF-8
        raise UserError(f"The statement {path} cannot be read ({type(error).__name__}): {advice}.") from None
    if not re.search(r"\w", statement):
        raise UserError(f"The statement {path} is empty, and the exercise requires one: {advice}.")
    return statement


# %%
for wrong in (("", "user", "x"), ("A Name", "two words", "x"), ("A Name", "user", ""), ("A Name", "user", "nowhere")):
    try:
        checked_words(*wrong)
    except UserError as error:
        print(error)
    else:
        raise AssertionError(wrong)

# %% [markdown]
# ## Is there a run worth handing in?
# Each question says itself whether the exercise requires it. Its answer must be the one that the book, as it is now,
# has left: not that of a notebook in which somebody has tried something.


# %%
#| export
def _undone(folder, header):
    """The questions of the stages that are to do in the run that a folder holds."""
    cfg = make_config(**{name: header[name] for name in ("profile", "dataset", "seed")}, out=str(folder))
    job = Job(cfg, noted_images(header))
    return [name for stage in stages() if not is_done(job, stage) for name in stage.questions]


# %%
with tempfile.TemporaryDirectory() as folder:
    nobody = {"profile": "smoke", "dataset": "shapes", "seed": 0, "data": {"identity": ""}}
    assert _undone(folder, nobody) == list(all_questions())


# %%
#| export
def checked_results(folder: Path) -> dict:
    """results.json of a whole, real run of this very code; UserError otherwise."""
    results = load_results(folder)
    doubt = warning(results["header"])
    if doubt:
        raise UserError(f"This run cannot be handed in ({doubt}): run the book with --profile exercise or quick.")
    required = [name for name, question in all_questions().items() if question.required]
    missing = ", ".join(name for name in required if name not in results["questions"])
    if missing:
        raise UserError(f"This run has not answered {missing}: run `python -m vicreg_nb.run_all` to its end first.")
    for name in required:
        given = results["questions"][name].get("settings", {})
        other = {what: value for what, value in given.items() if value != all_questions()[name].defaults.get(what)}
        if other:
            raise UserError(f"{name} was answered {changes(other)}, not as the profile is: run it again unchanged.")
    if results["header"].get("code") != code_digest():
        raise UserError("The package has changed since this run: run `python -m vicreg_nb.run_all` again.")
    undone = [name for name in _undone(folder, results["header"]) if name in required]
    if undone:
        again = "run `python -m vicreg_nb.run_all --profile {profile} --seed {seed}` again".format(**results["header"])
        raise UserError(f"The book as it is now did not write this run's answer to {', '.join(undone)}: {again}.")
    return results


# %%
try:
    checked_results(cfg.folder)
    print("This run may be handed in.")
except UserError as error:
    print(error)

# %% [markdown]
# ## Which imports the exercise allows
# The list of its Sec. 3 and 5.1, under the names that Python imports. `torch.utils.tensorboard` belongs to torch. Our
# own tools stay out of the zip: inside a function they may be named, since it is not called without them.

# %%
#| export
ALLOWED = "numpy scipy sklearn faiss torch torchvision matplotlib tensorboard wandb pandas plotly tqdm".split()


def forbidden_imports(path: Path) -> list[str]:
    """Imports in a module that are not allowed, or not in the zip, as "module.py, line 3: name"."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    found = []
    for node in ast.walk(tree):
        for name in imported_names(node):
            absent = name.startswith("vicreg_nb.tools") and id(node) not in inner
            if absent or name.split(".")[0] not in {*ALLOWED, "vicreg_nb", *sys.stdlib_module_names}:
                found.append(f"{path.name}, line {node.lineno}: {name}")
    return found


# %%
with tempfile.TemporaryDirectory() as folder:
    module = Path(folder) / "module.py"
    module.write_text(
        "import os, sklearn.svm\nfrom vicreg_nb.config import x\nfrom PIL import Image\n"
        "def f():\n    from vicreg_nb.tools import report\n    import timm.models\n"
    )
    print(forbidden_imports(module))
    assert len(forbidden_imports(module)) == 2

# %% [markdown]
# ## The modules, with the statement on top
# The exercise wants the use of automatic tools noted in the code itself. What one statement says of all of it stands at
# the head of every module, below the line that names its notebook: by that line `run_all` knows the book's order.


# %%
#| export
def marked(source: str, name: str, username: str, statement: str) -> str:
    """A module's source with who hands it in, and the statement on automatic tools, in comments at its head."""
    lines = [f"Handed in by {name} ({username}).", "On automatic tools:"]
    for paragraph in statement.splitlines():
        lines += textwrap.wrap(paragraph, 100, initial_indent="  ", subsequent_indent="  ") or [""]
    first = re.match(r"(# Generated from .*\n)?", source)[0]
    return first + "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n" + source.removeprefix(first)


# %%
example = marked("# Generated from nbs/00_x.py\nx = 1\n", "A Name", "user", 'with """ quotes\n\nand \\ strokes')
print(example)
assert example.startswith("# Generated from nbs/00_x.py\n#") and example.endswith("\nx = 1\n")
exec(example)

# %% [markdown]
# ## README and requirements
# What a module holds, its questions or its title tell; what it needs, `pyproject.toml`.

# %%
#| export
README = """\
# VICReg, peeled back to Laplacian Eigenmaps

Exercise 3, Self-Supervised and Unsupervised Learning (67912, Advanced Course in Machine Learning)

Name: {name}
CSE username: {username}

## What is here
- `report.pdf`: the answers, each marked with its question's number. Its results: profile {profile}, seed {seed}.
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


# %%
#| export
def readme_text(name: str, username: str, header: dict) -> str:
    """README.md of the submission; the modules are in the book's order."""
    told = "\n".join(f"  - `{module}.py`: {_about(module)}" for module in chapters().values())
    run = {field: header[field] for field in ("profile", "seed")}
    return README.format(name=name, username=username, modules=told, **run)


def _about(module):
    """The questions that a module answers, or its title."""
    questions = [all_questions()[name] for name in questions_of(module)]
    source = (package_folder() / f"{module}.py").read_text(encoding="utf-8")
    title = (ast.get_docstring(ast.parse(source)) or "").split(" · ")[-1].rstrip(".")
    return "; ".join(f"{question.title} ({question.place})" for question in questions) or title


def requirements_text() -> str:
    """The package's own requirements, from pyproject.toml."""
    with (package_folder().parent / "pyproject.toml").open("rb") as file:
        return "".join(f"{name}\n" for name in tomllib.load(file)["project"]["dependencies"])


# %%
print(readme_text("A Name", "user", {"profile": "quick", "seed": 0}))
print(requirements_text())

# %% [markdown]
# ## The zip
# The report is set anew, with name and statement in it. The same run and words give the same bytes.


# %%
#| export
def make_submission(folder: Path, name: str, username: str, statement_file: str) -> Path:
    """Write submission.zip beside a run's results.json; returns its path. UserError where it must not be."""
    words = name, username, statement = checked_words(name, username, statement_file)
    results, modules = checked_results(folder), sorted(package_folder().glob("*.py"))
    forbidden = [fault for path in modules for fault in forbidden_imports(path)]
    if forbidden:
        raise UserError(f"The exercise does not allow this import: {forbidden[0]}; keep to {', '.join(ALLOWED)}.")
    texts = {
        "README.md": readme_text(name, username, results["header"]),
        "requirements.txt": requirements_text(),
    }
    texts |= {f"vicreg_nb/{path.name}": marked(path.read_text(encoding="utf-8"), *words) for path in modules}
    with tempfile.TemporaryDirectory() as scratch:
        report = build(folder, f"{name} ({username})", statement, Path(scratch) / "report.pdf").read_bytes()
    files = {place: text.encode() for place, text in texts.items()} | {"report.pdf": report}
    return atomic(folder / "submission.zip", lambda path: write_zip(path, files))


def write_zip(path: Path, files: dict):
    """A zip of {name: bytes}, without dates."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16  # readable once it is unpacked
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)


# %%
with tempfile.TemporaryDirectory() as folder:
    written = [Path(folder) / name for name in ("one.zip", "two.zip")]
    for path in written:
        write_zip(path, {"README.md": b"Read me."})
    assert written[0].read_bytes() == written[1].read_bytes()

# %% [markdown]
# Q3 wants a probe above a bar. A run that does not reach it may be handed in, but not unnoticed.


# %%
#| export
def below_the_bar(results: dict) -> str:
    """A loud line where Q3's linear probe is below the exercise's bar; empty where it is not."""
    accuracy, bar = (number(results, "Q3", name) for name in ("accuracy", "bar"))
    if accuracy is None or bar is None or accuracy >= bar:
        return ""
    return f"!!! The linear probe reaches {accuracy:.1%}: the exercise asks for {bar:.0%} (Q3). !!!"


# %%
probed = {"questions": {"Q3": {"numbers": {"accuracy": 0.594, "bar": 0.6}}}}
print(below_the_bar(probed))
assert below_the_bar(probed).startswith("!!!") and not below_the_bar({"questions": {}})


# %%
#| export
def main(arguments: list = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vicreg_nb.tools.submission",
        description="Make submission.zip, as the exercise's Sec. 5.2 describes it.",
    )
    add = parser.add_argument
    add("--name", default="", help="your name")
    add("--username", default="", help="your CSE username")
    statement = "a text on how you used automatic tools; the exercise requires one"
    add("--tools-statement", default="", metavar="FILE", help=statement)
    add("--out", default="", metavar="FOLDER", help="of the run: results.json, figures/ (default: the project's)")
    given = parser.parse_args(arguments)
    try:
        folder = checked_folder(given.out)
        made = make_submission(folder, given.name, given.username, given.tools_statement)
        results = load_results(folder)
        whose = "profile {profile}, seed {seed}, of {updated}".format(**results["header"])
        print(made, whose, *filter(None, [below_the_bar(results)]), sep="\n")
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


# %%
#| export
if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())

# %%
assert main(["--name", ""]) == 1
