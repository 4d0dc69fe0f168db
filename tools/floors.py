"""House rules that no linter knows: floors, cycles, sizes. `python -m tools.floors` lists the breaches."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

FLOORS = {"core": 1, "version": 1, "nn": 2, "methods": 3, "heads": 3, "plan": 3, "adapter": 3, "fusion": 3}
FLOORS |= {"combining": 3, "archs": 4, "formats": 5, "hub": 5, "store": 5, "streaming": 5, "writing": 5}
FLOORS |= {"journal": 5, "locking": 5, "zipped": 5, "unzipped": 5}
TOP, COMMAND_LINE = 6, 7  # what FLOORS does not name in adapterzoo; weights_conversion
MAY_IMPORT = {  # beside the standard library
    "adapterzoo": {"adapterzoo", "torch", "safetensors", "tokenizers", "huggingface_hub", "tqdm"},
    "weights_conversion": {"weights_conversion", "adapterzoo", "click", "torch", "safetensors"},
}
PEERS = "weights_conversion.peers."  # where each file may import the library that it is named after
MAX_LINES = 400
LEFTOVER = re.compile(r"\b(NotImplementedError|TODO|FIXME)\b")
_NAME = r"""[\w.]*(?:(?:\[|\.get\()['"])?\bmodel_type\b(?:['"][\])])?"""
BRANCH = re.compile(rf"{_NAME}(\s*[!=]=|\.(starts|ends)with)|([!=]=\s*|\b(in|match) ){_NAME}")


class Module(NamedTuple):
    """One source file: its dotted name, its place, its text and what that parses to."""

    name: str
    path: Path
    text: str
    tree: ast.Module


def floor_of(name: str) -> int:
    """Return the floor that a module stands on."""
    package, _, rest = name.partition(".")
    return COMMAND_LINE if package == "weights_conversion" else FLOORS.get(rest.partition(".")[0], TOP)


def read(root: Path) -> dict[str, Module]:
    """Parse every module of the packages under `root`, by dotted name."""
    modules = {}
    for path in sorted(path for package in MAY_IMPORT for path in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, path.relative_to(root), text, ast.parse(text))
    return modules


def is_dynamic(node: ast.AST) -> bool:
    """Tell whether `node` imports by a call."""
    return (
        isinstance(node, ast.Call) and re.search(r"\b(import_module|__import__)$", ast.unparse(node.func)) is not None
    )


def targets(node: ast.AST, module: Module, modules: dict[str, Module]) -> Iterator[str]:
    """Name what an import loads: `from a.b import c` is the module a.b.c if there is one, else a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = node.level - (module.path.name == "__init__.py")
        base = module.name.split(".")[: -above or None] if node.level else []
        source = ".".join([*base, *filter(None, [node.module])])
        for child in (f"{source}.{alias.name}" for alias in node.names):
            yield child if child in modules else source
    elif is_dynamic(node):  # a package that discovers its own files loads each of them
        yield from (name for name in modules if name.rpartition(".")[0] == module.name)


def check(module: Module, modules: dict[str, Module]) -> Iterator[tuple[int, str]]:
    """Find what is wrong within one module, and with what it imports."""
    package, floor, lines = module.name.partition(".")[0], floor_of(module.name), module.text.splitlines()
    if not ast.get_docstring(module.tree):
        yield 1, "has no docstring"
    if len(lines) > MAX_LINES:
        yield len(lines), f"has {len(lines)} lines; {MAX_LINES} are the most"
    for number, line in enumerate(lines, 1):
        if found := LEFTOVER.search(line):
            yield number, f"leftover: {found[0]}"
        if floor != FLOORS["archs"] and BRANCH.search(line):
            yield number, "branches on model_type outside archs/"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    inside = {id(node) for f in ast.walk(module.tree) if isinstance(f, functions) for node in ast.walk(f)}
    for node in ast.walk(module.tree):
        at = getattr(node, "lineno", 1)
        if id(node) in inside and (isinstance(node, (ast.Import, ast.ImportFrom)) or is_dynamic(node)):
            yield at, "imports inside a function"
        elif is_dynamic(node) and module.path.name != "__init__.py":
            yield at, "imports by a call outside an __init__"
        if "TYPE_CHECKING" in (getattr(node, key, "") for key in ("id", "attr", "name")):
            yield at, "uses TYPE_CHECKING"
        for target in targets(node, module, modules):
            top = target.partition(".")[0]
            if top not in MAY_IMPORT[package] | sys.stdlib_module_names | peers_of(module.name):
                yield at, f"imports {top}, which {package} may not"
            elif top in MAY_IMPORT and floor_of(target) > floor:
                yield at, f"floor {floor} imports {target} of floor {floor_of(target)}"


def peers_of(name: str) -> set[str]:
    """Return the libraries that a module may import, for it runs them in a process of its own."""
    return {name.removeprefix(PEERS), "transformers"} if name.startswith(PEERS) else set()


def breaches(root: Path) -> list[str]:
    """List everything under `root` that breaks a rule, as `path:line: what`."""
    modules = read(root)
    found = [f"{m.path.as_posix()}:{at}: {what}" for m in modules.values() for at, what in check(m, modules)]
    found += [f"{package}: no modules found" for package in MAY_IMPORT if package not in modules]
    graph = {m.name: {t for n in ast.walk(m.tree) for t in targets(n, m, modules)} for m in modules.values()}
    try:
        TopologicalSorter({name: loads & modules.keys() for name, loads in graph.items()}).prepare()
    except CycleError as error:
        found.append("import cycle: " + " -> ".join(reversed(error.args[1])))
    return sorted(found)


if __name__ == "__main__":
    sys.exit("\n".join(breaches(Path(__file__).resolve().parent.parent)) or None)
