# %% [markdown]
# # 84 · Book
# What is a question of this book? Something that computes a result, draws it, and says what it means, in this order and
# always the same way. This notebook holds that one driver, `Question`, and the one file that all numbers come from.

# %%
#| default_exp book

# %%
#| export
from __future__ import annotations

import ast
import contextlib
import importlib
import json
import math
import platform
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from vicreg_nb.config import PROFILES, SETTINGS, Config, changed_settings, device_name
from vicreg_nb.identity import package_folder, plain_code
from vicreg_nb.store import UserError, atomic, digest, locked, log, project_root, regular

if TYPE_CHECKING:  # the data need PyTorch, which who only looks at results does not
    from vicreg_nb.data import Images

# %% tags=["parameters"]
# Parameters
profile: str = "smoke"  # this notebook's examples run on the small drawn images
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder

# %%
import numpy as np
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset

cfg = notebook_config(globals())

# %% [markdown]
# ## Numbers, and sentences about them
# An answer is prose that its author wrote, with `{fields}` for the numbers. `Numbers` lets a field name a number by its
# path: `{vicreg.accuracy:.1%}`.


# %%
#| export
class Numbers(dict):
    """Nested dicts of plain numbers, strings and lists, whose entries are attributes as well."""

    def __getattr__(self, name):
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"there is no number {name!r} among {', '.join(map(str, self))}") from None
        return Numbers(value) if isinstance(value, dict) else value


def plain_numbers(value):
    """`value` as JSON has it: no arrays, no numpy or torch scalars; a number that is not finite becomes None."""
    if isinstance(value, dict):
        return Numbers({str(name): plain_numbers(item) for name, item in value.items()})
    if hasattr(value, "tolist"):  # of numpy or torch
        value = value.tolist()  # of no dimension: a number
    if isinstance(value, (list, tuple)):
        return [plain_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# %%
numbers = plain_numbers(
    {"vicreg": {"accuracy": np.float32(0.5), "rank": float("inf")}, "by_class": np.arange(3), "one": np.array(2)}
)
print("{vicreg.accuracy:.1%}, {by_class[2]}".format(**numbers))
assert numbers.vicreg.rank is None and numbers.one == 2 and json.loads(json.dumps(numbers)) == numbers

# %% [markdown]
# ## A question
# Each part is a function of its own, put in its place by a decorator: `result` computes, `summary` takes the plain
# numbers out of the result, each `figure` draws from the result, each `table` is made from the numbers.
#
# `says` adds a claim: a paragraph, and the condition (`when`) that its numbers must meet. A claim whose condition fails
# is left out of the answer, and the run tells which. So nothing is explained that was not measured, and no text is
# written for a number that did not come out.

# %%
#| export
QUESTIONS = {}  # every question by its name, in the order in which the chapters were read


@dataclass
class _Parts:
    name: str  # Q7
    title: str  # Retrieval
    place: str  # Section 3.2, Question 7
    required: bool = False  # by the exercise
    defaults: dict = field(default_factory=dict)  # settings that this question has of its own, unless they are given
    compute: Callable = None  # (Config, Images) -> the result
    numbers: Callable = None  # result -> nested dict of numbers
    figures: dict = field(default_factory=dict)  # name: (result -> Drawing, caption)
    asides: list = field(default_factory=list)  # names of figures that the report may do without
    tables: list = field(default_factory=list)  # numbers -> {"caption", "header", "rows"}
    claims: list = field(default_factory=list)  # (when or None, text)

    def __post_init__(self):
        QUESTIONS[self.name] = self

    def says(self, text: str, when: Callable = None):
        """Add a claim: always, or where `when(numbers)` holds."""
        self.claims.append((when, " ".join(text.split())))  # line breaks in the source are spaces


# %%
part = _Parts("Q0", "Nothing", "nowhere")
part.says("""A claim of
two lines.""")
assert part.claims == [(None, "A claim of two lines.")] and QUESTIONS.pop("Q0") is part


# %%
#| export
class _Declared(_Parts):
    def result(self, function):
        """Decorator: `function(cfg, images)` computes the result. Several questions may share one."""
        self.compute = function
        return function

    def summary(self, function):
        """Decorator: `function(result)` gives the numbers that the answer rests on."""
        self.numbers = function
        return function

    def figure(self, caption: str, aside: bool = False):
        """Decorator: `function(result)` draws; its name is the file's. aside: a full report leaves it out."""

        def keep(function):
            self.figures[function.__name__] = function, caption
            self.asides += [function.__name__] if aside else []
            return function

        return keep

    def table(self, function):
        """Decorator: `function(numbers)` makes a table: {"caption", "header", "rows"}, all of words."""
        self.tables.append(function)
        return function


# %%
#| export
class Answer(str):
    """Markdown that a notebook shows as such."""

    def _repr_markdown_(self):
        return str(self)


def _images_of(cfg):
    from vicreg_nb.data import open_dataset  # only now: it brings PyTorch

    return open_dataset(cfg)


def changes(settings: dict) -> str:
    """Changed settings in words; empty where there are none."""
    return f"with {', '.join(f'{name} = {value}' for name, value in settings.items())}" if settings else ""


def told_apart_by(cfg: Config, own: dict = None) -> dict:
    """The changed settings that tell a run from another. own: values that count as unchanged."""
    return {name: value for name, value in changed_settings(cfg, own).items() if name != "tensorboard"}


# %%
#| export
def doubts(cfg: Config, images: Images, own: dict = None) -> str:
    """What a reader must be warned of: empty for a profile as it stands, on CIFAR-10."""
    changed = changes(told_apart_by(cfg, own))
    if images.name != "cifar10":
        return f"profile {cfg.profile} {changed}".strip() + f", dataset {images.name}: not a result on CIFAR-10"
    smoke = "smoke run: not a result" if cfg.profile == "smoke" else ""
    return smoke or (f"profile {cfg.profile} {changed}" if changed else "")


# %%
print(doubts(cfg, open_dataset(cfg)))
assert changes({}) == "" and changes({"mu": 5.0, "schedule": "onecycle"}) == "with mu = 5.0, schedule = onecycle"

# %% [markdown]
# The driver itself: the last cell of a chapter, the headless run and the tests all call `run`.


# %%
#| export
class Question(_Declared):
    """A question of the exercise: what computes its result, what draws it, what it says."""

    def answer(self, numbers: dict) -> Answer:
        """The claims that hold for `numbers`, with the numbers filled in; the run tells which do not."""
        numbers, said = plain_numbers(numbers), []
        for when, text in self.claims:
            if when is None or when(numbers):
                said.append(text.format(**numbers))
            else:
                log(f"{self.name} does not claim here: {text[:75]} ...")
        return Answer("\n\n".join(said))

    def run(self, cfg: Config, result=None, tell: bool = True) -> Answer:
        """Compute (unless the result is given), draw, record; returns the answer. tell: say where, and what it is."""
        images = _images_of(cfg)
        result = self.compute(cfg, images) if result is None else result
        folder, doubt = claim_folder(cfg, images, self.defaults), doubts(cfg, images, self.defaults)
        for name, (draw, _) in self.figures.items():
            draw(result).save(folder / "figures" / name, doubt)
        entry = _record(cfg, images, self, plain_numbers(self.numbers(result)))
        if tell:
            log(f"{self.name}: recorded in {folder / RESULTS}" + (f" ({doubt})" if doubt else ""))
        return Answer(entry["answer"])


# %%
asked = Question("Q0", "Nothing", "nowhere")
asked.says("It is {n}.")
asked.says("It is large.", when=lambda n: n.n > 10)
assert asked.answer({"n": 3}) == "It is 3." and asked.answer({"n": 30}) == "It is 30.\n\nIt is large."
assert QUESTIONS.pop("Q0") is asked

# %% [markdown]
# A question of our own, in ten lines:

# %%
from vicreg_nb.plots import METHOD_COLOURS, lines

mine = Question("mine", "How bright are the images?", "nowhere")
mine.result(lambda cfg, images: images.train_images.mean(axis=(1, 2, 3)))
mine.summary(lambda result: {"mean": result.mean(), "darkest": result.min()})


@mine.figure("Brightness of the training images, in rising order.")
def mine_brightness(result):
    curve = {"brightness": (np.arange(len(result)), np.sort(result))}
    return lines({"": curve}, "image", "brightness", {"brightness": METHOD_COLOURS[0]})


mine.says("The mean brightness is {mean:.0f} of 255.")
mine.says("**Most images are dark.**", when=lambda n: n.mean < 100)
assert mine.answer({"mean": 90.4, "darkest": 3}) == "The mean brightness is 90 of 255.\n\n**Most images are dark.**"
assert "dark" not in mine.answer({"mean": 128.0, "darkest": 3})

# %% [markdown]
# ## Where a number comes from
# What ran, with which seed and data, on what, with which versions.

# %%
#| export
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "faiss-cpu", "matplotlib", "plotly")


def what_runs(cfg: Config, images: Images, own: dict = None) -> dict:
    """Profile, images, seed and changed settings. own: values that count as unchanged in place of the profile's."""
    facts = {
        "identity": images.identity,
        "train_images": len(images.train_labels),
        "test_images": len(images.test_labels),
    }
    head = {"profile": cfg.profile, "dataset": images.name, "seed": cfg.seed, "data": facts}
    return head | {"settings": told_apart_by(cfg, own)}


def header(cfg: Config, images: Images, own: dict = None) -> dict:
    """Provenance of a run: what runs, on what, with which versions."""
    return what_runs(cfg, images, own) | {
        "dataset_note": images.note,
        "device": device_name(cfg),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "commit": _commit(),
        "code": code_digest(),
        "started": _now(),
    }


# %%
#| export
def _now():
    return time.strftime("%Y-%m-%d %H:%M:%S %Z")


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


# %%
print(_now(), _version("numpy"))
assert _version("no-such-library") == "absent"


# %%
#| export
def _commit():
    """The commit, with -dirty where notebooks or package differ from it (figures always do, after a run)."""
    try:
        commit = _git("describe", "--always", "--abbrev=12")
        return commit + ("-dirty" if _git("status", "--porcelain", "--", "nbs", "vicreg_nb") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*command):
    done = subprocess.run(["git", "-C", str(project_root()), *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def code_digest() -> str:
    """Digest of the package's code outside tools, without its comments: tells whether a result is older than it."""
    paths = sorted(package_folder().glob("*.py"))
    return digest(*(f"{path.name}\n{plain_code(path.read_text(encoding='utf-8'))}" for path in paths))


# %%
print(json.dumps(header(cfg, open_dataset(cfg)), indent=1))

# %% [markdown]
# ## One folder, one run
# A run is a profile, its images, a seed, and the settings that were changed. Numbers of two runs must never stand
# beside each other, and none may replace the other's. So a folder holds one run: the first that comes to it. Any other
# is led to a folder of its own below it, `runs/<profile>-<dataset>-seed<seed>-<digest>`, and back to it when it comes
# again. Trainings are shared by all of them.
#
# The project's own folder is for show, so it takes in only what is a result on CIFAR-10 with a profile as it stands.

# %%
#| export
RESULTS = "results.json"


def which_run(header: dict) -> dict:
    """What tells a run from another, of a results file's header; files from before there were such have no settings."""
    names = {name: header[name] for name in ("profile", "dataset", "seed")}
    return names | {"data": header["data"]["identity"], "settings": header.get("settings", {})}


# %%
assert which_run(what_runs(cfg, open_dataset(cfg)))["profile"] == cfg.profile

# %% [markdown]
# A results file may have been edited, merged by git, or cut short, and all tools read it. So its shape is checked where
# it is read, and nowhere else: a type, a condition, a list of one shape, or names with a shape each. What has a mark of
# interrogation may be absent, as in older files, and a star is for all names.


# %%
#| export
def _fits(value, shape) -> bool:
    """Whether a value from a JSON file has a shape."""
    if isinstance(shape, dict):
        there = isinstance(value, dict)
        return there and all(_part_fits(value, name, part) for name, part in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    return isinstance(value, shape) if isinstance(shape, type) else bool(shape(value))


def _part_fits(value, name, shape):
    if name == "*":
        return all(_fits(part, shape) for part in value.values())
    return _fits(value[name.rstrip("?")], shape) if name.rstrip("?") in value else name.endswith("?")


# %%
shape = {"a": [int], "b?": str, "c": {"*": len}}
assert _fits({"a": [1], "c": {"x": "1"}, "more": 0}, shape) and _fits({"a": [], "b": "", "c": {}}, shape)
assert not any(_fits(wrong, shape) for wrong in ({"c": {}}, {"a": [""], "c": {}}, {"a": [], "c": {"x": ""}}, []))


# %%
#| export
def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # NaN is not


def _are_numbers(value):
    """Nested numbers and words, as a question's summary gives them."""
    if isinstance(value, (dict, list)):
        return all(map(_are_numbers, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


def _is_figure(value):
    return _fits(value, [str]) and len(value) == 2 and re.fullmatch(r"[\w-]+", value[0])  # the name of a file


def _are_settings(values):
    known = {name: field.type for name, field in SETTINGS.items() if name in values}
    return isinstance(values, dict) and all(
        type(values[name]) is kind or kind is float and _is_number(values[name]) for name, kind in known.items()
    )


# %%
assert _is_figure(["q1_loss", "The loss."]) and not _is_figure(["../q1", "The loss."])
assert _are_settings({"mu": 1, "gone": None}) and not (_are_settings({"epochs": 1.5}) or _are_settings(["mu"]))

# %%
#| export
_TABLE = {"caption": str, "header": [str], "rows": [[str]]}
_QUESTION = {
    "title": str, "place?": str, "required?": bool, "answer": str,
    "numbers": lambda value: isinstance(value, dict) and _are_numbers(value),
    "figures": [_is_figure], "asides?": [str], "tables": [_TABLE], "settings?": _are_settings, "code?": str,
}  # fmt: skip
_HEADER = {
    "profile": lambda value: value in list(PROFILES), "dataset": str, "seed": _is_number, "device": str, "commit": str,
    "data": {"identity": str, "train_images": _is_number, "test_images": _is_number}, "versions": {"*": str},
    "code": str, "started": str, "updated?": str, "dataset_note?": str, "settings?": _are_settings,
}  # fmt: skip
_STAGE = {"seconds": _is_number, "cpu_seconds?": _is_number, "load?": _is_number, "key?": str, "answers?": str}
_RESULTS = {"header": _HEADER, "questions": {"*": _QUESTION}, "stages": {"*": _STAGE}}

# %%
assert not _fits({"header": {}}, _RESULTS) and _fits({"caption": "", "header": ["a"], "rows": [["1"]]}, _TABLE)


# %%
#| export
def read_file(path: Path) -> dict | None:
    """A results file, or None where there is none; UserError where it is something else."""
    try:
        results = json.loads(regular(path).read_text(encoding="utf-8"))
        good = _fits(results, _RESULTS) and json.dumps(results, ensure_ascii=False).encode()  # no half characters
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, MemoryError, AttributeError, TypeError):
        good = False
    if not good:
        raise UserError(f"{path} is not a results file, or is damaged: move it away and run again.")
    return results


# %%
assert read_file(Path("/nowhere")) is None


# %%
#| export
def own_folder(folder: Path, run: dict) -> Path:
    """Where a run goes that does not have `folder` for itself."""
    return folder / "runs" / "{profile}-{dataset}-seed{seed}-{digest}".format(**run, digest=digest(run)[:8])


def results_folder(cfg: Config, images: Images, own: dict = None) -> Path:
    """The folder of this run's results and figures. own: values that count as unchanged in place of the profile's."""
    run = which_run(what_runs(cfg, images, own))
    apart, there = own_folder(cfg.folder, run), read_file(cfg.folder / RESULTS)
    if there:
        return cfg.folder if which_run(there["header"]) == run else apart
    shown = not doubts(cfg, images, own)
    return cfg.folder if (cfg.out or shown) and not (apart / RESULTS).is_file() else apart


def read_results(cfg: Config, images: Images, own: dict = None) -> dict:
    """The results of this run; new ones where there are none."""
    return read_file(results_folder(cfg, images, own) / RESULTS) or _no_results(cfg, images, own)


def _no_results(cfg, images, own):
    return {"header": header(cfg, images, own), "questions": {}, "stages": {}}


# %% [markdown]
# ## One file for the numbers
# `results.json` takes every number of a run, with where it came from. The report, the README and the page read it, so
# that no number is typed by hand. Two notebooks may answer at once: each reads the file, adds and writes while the
# other waits.


# %%
#| export
@contextlib.contextmanager
def changing_results(cfg: Config, images: Images, own: dict = None):
    """The results of a run, to be changed: they are written at the end, while other processes wait."""
    with locked(cfg.runs / ".results.lock"):
        folder = results_folder(cfg, images, own)
        results = read_file(folder / RESULTS) or _no_results(cfg, images, own)
        yield results
        text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
        atomic(folder / RESULTS, lambda path: path.write_text(text, encoding="utf-8"))


def claim_folder(cfg: Config, images: Images, own: dict = None) -> Path:
    """The folder of a run; from now on it is this run's."""
    with changing_results(cfg, images, own):
        pass
    return results_folder(cfg, images, own)


# %%
#| export
def _entry(cfg, question, numbers):
    """A question's findings as results.json holds them."""
    return {
        "title": question.title,
        "place": question.place,
        "required": question.required,
        "numbers": numbers,
        "answer": question.answer(numbers),
        "figures": [[name, caption] for name, (_, caption) in question.figures.items()],
        "asides": question.asides,
        "tables": [plain_numbers(table(Numbers(numbers))) for table in question.tables],
        "settings": changed_settings(cfg),
        "code": code_digest(),
    }


def _record(cfg, images, question, numbers):
    """Put a question's findings into its run's results; returns them."""
    entry = _entry(cfg, question, numbers)
    with changing_results(cfg, images, question.defaults) as results:
        results["header"]["updated"] = _now()
        results["questions"][question.name] = entry
    return entry


# %%
import tempfile

with tempfile.TemporaryDirectory() as folder:
    here, images = cfg.replace(out=folder), open_dataset(cfg)
    mine.run(here)
    mine.run(here.replace(mu=5.0))
    kept = read_results(here, images)["questions"]["mine"]
    assert (here.figures / "mine_brightness.png").is_file() and kept["figures"][0][0] == "mine_brightness"
    assert kept["settings"] == {} and results_folder(here.replace(mu=5.0), images).parent == here.runs
    print(json.dumps(kept, indent=1))

# %% [markdown]
# Where a part of the book was run again by itself after the code was changed, the answers are of several codes. Each
# notes its own, so that this can be told.


# %%
#| export
def mixture(results: dict) -> str:
    """A line on which answers are of other code than the others; empty where all are of one."""
    of_code = {}
    for name, entry in results["questions"].items():
        of_code.setdefault(entry.get("code", results["header"]["code"]), []).append(name)
    parts = " / ".join(", ".join(names) for names in of_code.values())
    return f"answers by several versions of the code: {parts}" if len(of_code) > 1 else ""


# %%
old = {name: value for name, value in kept.items() if name != "code"}  # older files do not say
told = {"header": {"code": "older"}, "questions": {"Q1": old, "Q2": old | {"code": "older"}}}
assert not mixture(told) and mixture(told | {"questions": {"Q3": kept} | told["questions"]}).endswith("Q3 / Q1, Q2")

# %% [markdown]
# ## Several seeds
# A number of one run says nothing of what another seed would give. So the numbers of each whole run of a profile as it
# stands are kept in a small file, `results/quick-seed0.json`, for the tables that show means over seeds. What the
# intervals of one run's table are of stands at the end of its caption, where the mean's own take its place.

# %%
#| export
OVER_IMAGES = "95 % intervals over the test images."


def keep_numbers(folder: Path, results: dict) -> Path:
    """Write what tables over seeds need of a whole run; returns the file."""
    nothing = {"answer": "", "figures": [], "asides": []}
    bare = results | {"questions": {name: entry | nothing for name, entry in results["questions"].items()}}
    path = folder / "results" / "{profile}-seed{seed}.json".format(**results["header"])
    path.parent.mkdir(exist_ok=True)
    return atomic(path, lambda place: place.write_text(json.dumps(bare, ensure_ascii=False) + "\n", encoding="utf-8"))


def kept_numbers(folder: Path) -> list[dict]:
    """The results whose numbers are kept in a folder, profile by profile, seed by seed."""
    kept = [read_file(path) for path in (folder / "results").glob("*-seed*.json")]
    return sorted(kept, key=lambda results: (results["header"]["profile"], results["header"]["seed"]))


# %%
with tempfile.TemporaryDirectory() as folder:
    for seed in (10, 9):
        keep_numbers(Path(folder), _no_results(cfg.replace(seed=seed), images, None) | {"questions": {"mine": kept}})
    numbers = kept_numbers(Path(folder))
    assert [one["header"]["seed"] for one in numbers] == [9, 10]
    assert numbers[0]["questions"]["mine"]["numbers"] == kept["numbers"]

# %% [markdown]
# ## The chapters
# Every exported module names its notebook in its first line, and the notebooks' numbers are the order of the book. So a
# new chapter takes its place by being exported, and no list anywhere names it.


# %%
#| export
def chapters() -> dict:
    """{notebook's name: module's name} of the exported notebooks outside tools, in the book's order."""
    found = {}
    for path in package_folder().glob("*.py"):
        with path.open(encoding="utf-8") as file:
            match = re.match(r"# Generated from nbs/(\w+)\.py", file.readline())
        if match:
            found[match[1]] = path.stem
    return dict(sorted(found.items()))


# %%
print(*chapters().items(), sep="\n")


# %%
#| export
def questions_of(module: str) -> dict:
    """{question: its own values of settings} that a module declares, read from its source without importing it."""
    path = package_folder() / f"{module}.py"
    return dict(_questions_in(path.read_text(encoding="utf-8"), path.name))


@cache
def _questions_in(source, name):
    found = {}
    for node in ast.parse(source, name).body:
        call = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        made = getattr(call, "func", None)
        if "Question" not in (getattr(made, "id", ""), getattr(made, "attr", "")):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        try:
            own = ast.literal_eval(given["defaults"]) if "defaults" in given else {}
            found[ast.literal_eval(call.args[0] if call.args else given["name"])] = own
        except (ValueError, TypeError, KeyError):
            form = 'Question("name", "title", "place", defaults={"mu": 0.0})'
            raise UserError(f"{name}, line {node.lineno}: write {form}, with nothing to compute in it.") from None
    return found


# %%
written = 'a = Question("A", "t", "p")\nb: Question = book.Question(title="t", name="B", defaults={"mu": 0.0})\nc = 3\n'
assert _questions_in(written, "made") == {"A": {}, "B": {"mu": 0.0}}
for wrong in ('Question(NAME, "t")', 'Question("A", defaults=dict(mu=0))', "Question()"):
    try:
        _questions_in(f"a = {wrong}", "made")
    except UserError as error:
        print(error)
    else:
        raise AssertionError(wrong)


# %%
#| export
def all_questions() -> dict:
    """Every question that a chapter declares, by its name, in the book's order. Imports their modules."""
    declared = {module: questions_of(module) for module in chapters().values()}
    for module in declared:
        if declared[module]:
            importlib.import_module(f"vicreg_nb.{module}")
    return {name: QUESTIONS[name] for names in declared.values() for name in names}


# %%
for notebook, module in chapters().items():
    print(f"{notebook:26}{module:22}{', '.join(questions_of(module))}")

from vicreg_nb import book

assert list(book.all_questions())[:3] == ["Q1", "Q2", "Q3"]  # the package's own, without the one made up above
