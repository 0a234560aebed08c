"""How the book reads, in numbers: `python tests/reading.py` prints them and exits with 1 beyond their bounds."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES, COLUMNS, SHOWN, PROSE = 25, 120, 0.90, 2.0
CHAPTERS = {"ablations", "laplacian_eigenmaps", "ladder", "retrieval", "anomaly", "clustering"}
ARROWS = {"ladder -> laplacian_eigenmaps"}  # the one chapter that builds on another


def cells(path: Path) -> list[tuple[str, int, str]]:
    """(kind, first line's number, source) of the cells of a percent file; kind: markdown, export or code."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.startswith("# %%"):
            found.append(["markdown" if "[markdown]" in line else "code", number, []])
        elif found:
            found[-1][2].append(line)
    found = [(kind, number, "\n".join(lines).strip("\n")) for kind, number, lines in found]
    return [("export" if text.startswith("#| export") else kind, number, text) for kind, number, text in found]


def defines(source: str) -> bool:
    """Whether a cell defines a function or a class; constants, claims and imports are read where they are used."""
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.parse(source).body)


def code_lines(source: str) -> list[str]:
    """The lines of a code cell without export's directives."""
    return [line for line in source.split("\n") if not line.startswith("#|")]


def own_modules(node: ast.AST) -> set[str]:
    """The project's modules that an import names, without the package's name; of any other node none."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = "vicreg_nb" if node.level else node.module
        names = [f"{base}.{alias.name}" for alias in node.names] if base == "vicreg_nb" else [base]
    else:
        return set()
    return {name.split(".")[1] for name in names if name.startswith("vicreg_nb.")}


def arrows(path: Path) -> list[str]:
    """The chapters that a chapter imports, wherever in it the import stands; its own name is none."""
    own = re.search(r"default_exp (\w+)", path.read_text(encoding="utf-8"))
    if not own or own[1] not in CHAPTERS:
        return []
    code = (source for kind, _, source in cells(path) if kind != "markdown")
    found = {name for source in code for node in ast.walk(ast.parse(source)) for name in own_modules(node)}
    return [f"{own[1]} -> {name}" for name in sorted(found.intersection(CHAPTERS) - {own[1]})]


def measure(folder: Path) -> tuple[dict, list[str]]:
    """({what: number}, faults in words) over the notebooks of a folder."""
    faults, exported, shown, words, lines, found = [], 0, 0, 0, 0, []
    for path in sorted(folder.glob("[0-9]*.py")):
        book, found = cells(path), found + arrows(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if len(line) > COLUMNS:
                faults.append(f"{path.name}:{number}: {len(line)} columns, at most {COLUMNS}")
        code = [cell for cell in book if cell[0] != "markdown"]
        for (kind, number, source), (following, *_) in zip(code, [*code[1:], ("end",)], strict=True):
            if len(code_lines(source)) > LINES:
                faults.append(f"{path.name}:{number}: a cell of {len(code_lines(source))} lines, at most {LINES}")
            if kind == "export" and defines(source):
                exported += 1
                shown += following == "code"
        if re.match(r"0[1-7]", path.name):
            words += sum(len(source.replace("#", " ").split()) for kind, _, source in book if kind == "markdown")
            lines += sum(bool(line.strip()) for *_, source in code for line in code_lines(source))
    share, prose = shown / max(1, exported), words / max(1, lines)
    if share < SHOWN:
        faults.append(f"{share:.0%} of the exported cells have a test or a picture below them, at least {SHOWN:.0%}")
    if prose < PROSE:
        faults.append(f"{prose:.2f} words of prose a line of code in chapters 01 to 07, at least {PROSE}")
    if not ARROWS.issuperset(found):
        faults.append(f"chapters import chapters: {', '.join(found)}; allowed: {', '.join(ARROWS)}")
    return {"exported cells": exported, "with a test or picture": share, "prose": prose, "arrows": len(found)}, faults


def main(folder: Path = ROOT / "nbs") -> int:
    numbers, faults = measure(folder)
    for fault in faults:
        print(fault)
    print(", ".join(f"{name} {value:.3g}" for name, value in numbers.items()))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
