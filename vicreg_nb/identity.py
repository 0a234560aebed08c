# Generated from nbs/80b_identity.py by `make export`. Do not edit: edit the notebook.
# cells nbs/80b_identity.py 1f4e65409454422e
# text 81f305338daba7b1

"""80b · Identity."""

import ast
import contextlib
import dis
import functools
import importlib.util
import inspect
import linecache
import sys
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType

import numpy as np
from vicreg_nb.store import Later, UserError, digest, is_current, read_whole, recover, write_arrays

torch = Later("torch")


def _bare(text):
    """The parsed source without docstrings and types of arguments."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            node.body = node.body[ast.get_docstring(node) is not None :] or [ast.Pass()]
        elif isinstance(node, ast.arg):
            node.annotation = None
    return tree


NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)  # % and ! in a notebook, NUL, thousands of signs


def _spelled(node):
    """A syntax tree in words that all versions of Python share, which `ast.unparse` and `ast.dump` do not."""
    if isinstance(node, ast.AST):
        fields = [f"{name}={_spelled(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(fields)})"
    return f"[{', '.join(map(_spelled, node))}]" if isinstance(node, list) else repr(node)


@functools.cache
def plain_code(text: str) -> str:
    """What a source does: comments, formatting, docstrings and types of arguments are left out; itself if no Python."""
    try:
        return _spelled(_bare(text))
    except NOT_PYTHON:
        return text


def package_folder() -> Path:
    """The folder of the package."""
    return Path(importlib.util.find_spec("vicreg_nb").submodule_search_locations[0])


_AT_START = {str(path): path.read_text(encoding="utf-8") for path in package_folder().glob("*.py")}


def _text_of(file):
    """The source in a file, or in a notebook's cell of this name. UserError if the file is not what runs."""
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file))
    if _AT_START.get(file, text) != text and plain_code(_AT_START[file]) != plain_code(text):
        raise UserError(f"{file} was changed after it was read: start again (in a notebook: restart the kernel).")
    return text


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@functools.cache
def _definitions(text):
    """{qualified name, for lambdas the line: node} of all functions and classes in a source."""
    found = {}

    def look(node, above):
        for child in ast.iter_child_nodes(node):
            inside = above
            if isinstance(child, ast.Lambda):
                found.setdefault(child.lineno, ast.List([], ast.Load())).elts.append(child)
            elif isinstance(child, _DEFINITIONS):
                found[above + child.name] = child
                inside = f"{above}{child.name}." + ("" if isinstance(child, ast.ClassDef) else "<locals>.")
            look(child, inside)

    with contextlib.suppress(*NOT_PYTHON):
        look(_bare(text), "")
    return found


def _methods(kind):
    """The functions that a class has of its own; those of its module come first, before those made by a decorator."""
    own = [value for value in map(inspect.unwrap, vars(kind).values()) if isinstance(value, FunctionType)]
    return sorted(own, key=lambda function: function.__code__.co_filename.startswith("<string>"))


def _node_of(thing):
    """The node of a function's or class's definition; None where there is no source."""
    name, files = thing.__qualname__, [getattr(sys.modules.get(thing.__module__), "__file__", None) or ""]
    if isinstance(thing, FunctionType):
        name = thing.__code__.co_firstlineno if thing.__name__ == "<lambda>" else name
        files = [thing.__code__.co_filename]
    else:  # a class that a notebook has defined is known by its methods
        files += [method.__code__.co_filename for method in _methods(thing)]
    return next((node for file in files if (node := _definitions(_text_of(file)).get(name))), None)


_APART = {"vicreg_nb." + room for room in ("config", "plots", "book", "store", "identity")}
_RANDOM = {"new_generator", "seeded", "_number"}  # of store: these have a say in what is computed


def _followed(thing) -> bool:
    """Whether a function or class is of the book, or of the user, and has a say in what is computed."""
    root = thing.__module__.partition(".")[0]
    if thing.__qualname__.startswith("__create_fn__"):  # a dataclass's own, made of the fields that its source has
        return False
    if root in ("vicreg_nb", "__main__"):
        return thing.__module__ not in _APART or thing.__name__ in _RANDOM
    file = getattr(sys.modules.get(root), "__file__", None)
    library = root in sys.stdlib_module_names or {"site-packages", "dist-packages"} & set(Path(file or "").parts)
    return bool(file) and not library


@functools.cache
def _names_used(code):
    """The global names that compiled code looks up."""
    steps = [step for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_NAME")]
    stored = {step.argval for step in steps if step.opname == "STORE_NAME"}
    names = [step.argval for step in steps if step.argval not in stored]
    return names + [name for part in code.co_consts if isinstance(part, CodeType) for name in _names_used(part)]


def _code_in(value) -> list:
    """The functions and classes that a value is, holds, or is an instance of."""
    if callable(value):
        value = inspect.unwrap(value)
    if isinstance(value, (FunctionType, type)):
        return [value]
    if isinstance(value, MethodType):
        return [value.__self__ if isinstance(value.__self__, type) else type(value.__self__)]
    if isinstance(value, functools.partial):
        value = [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, dict):
        value = list(value.values())
    return [code for item in value for code in _code_in(item)] if isinstance(value, (list, tuple)) else [type(value)]


def _is_constant(name, value) -> bool:
    """Whether a global value is a constant of the code: numbers, words, arrays; tables of these if NAMED_SO."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):  # under another name, it may be a store that fills with time
        return name.isupper() and all(_is_constant(name, item) for item in value)
    return value is None or isinstance(value, (int, float, str, bytes, np.ndarray, torch.Tensor, torch.dtype))


def _uses(thing, code, node):
    """(name, value) of what a function or class uses; the name is empty for values of the function around it."""
    scope, around = vars(sys.modules.get(thing.__module__, ast)), {}
    if isinstance(thing, FunctionType):
        cells = zip(thing.__code__.co_freevars, thing.__closure__ or ())
        scope, around = thing.__globals__, {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    else:  # methods given to the class from outside; all of them where its source is not known
        written = thing.__qualname__ if isinstance(node, ast.ClassDef) else "nowhere"
        yield from (("", method) for method in _methods(thing) if not method.__qualname__.startswith(written))
    for name in _names_used(code):
        value = around.get(name, scope.get(name))
        if isinstance(value, ModuleType) and value.__name__.startswith("vicreg_nb."):
            asked = [at for at in ast.walk(node) if isinstance(at, ast.Attribute) and isinstance(at.value, ast.Name)]
            yield from ((at.attr, getattr(value, at.attr, None)) for at in asked if at.value.id == name)
        elif name in around or (name in scope and not name.startswith("__")):
            yield "" if name in around else name, value


def _is_filled(cell):
    with contextlib.suppress(ValueError):
        return cell.cell_contents is not cell
    return False


def code_of(*things) -> dict:
    """{name: digest} of functions and classes, and of all code and constants of the book that they use."""
    found, waiting, seen = {}, _code_in(things), set()

    def note(name, value):
        while found.get(name, value) != value:  # another module's
            name += "'"
        found[name] = value

    while waiting:
        thing = waiting.pop(0)
        if thing in seen or not _followed(thing):
            continue
        seen.add(thing)
        text, code, node = _compiled(thing)
        note(thing.__qualname__, digest(text))
        for name, value in _uses(thing, code, node):
            waiting += _code_in(value)
            if name and _is_constant(name, value):
                note(name, digest(value))
    return found


def _compiled(thing):
    """A definition as text, as code, and as node; without a source, its compiled form must do for all three."""
    node = _node_of(thing)
    if node:
        return *_written(node), node
    if isinstance(thing, FunctionType):
        return _steps(thing.__code__), thing.__code__, ast.Module([], [])
    return [_steps(method.__code__) for method in _methods(thing)], compile("", "<class>", "exec"), ast.Module([], [])


@functools.cache
def _written(node):
    return _spelled(node), compile(ast.unparse(node), "<definition>", "exec")


def _steps(code):
    consts = [_steps(inner) if isinstance(inner, CodeType) else inner for inner in code.co_consts]
    return [code.co_code.hex(), code.co_names, consts]


def cached(folder: Path, name: str, key, compute) -> dict:
    """The arrays of `compute()` (a dict of arrays), kept in `folder` under the digest of `key` and of its code."""
    path = folder / f"{name}-{digest(name, key, code_of(compute))}.npz"
    arrays = recover(path, read_whole) if is_current(path) else None
    if arrays is None:
        arrays = {field: np.asarray(value) for field, value in compute().items()}
        write_arrays(path, arrays)
    return arrays
