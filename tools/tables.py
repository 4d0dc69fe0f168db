"""Writes the documentation's tables of what there is, from the registries: `python -m tools.tables`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.core.sites import sites_of
from adapterzoo.heads import HEADS
from adapterzoo.methods import PRESETS, AdapterConfig

ROOT = Path(__file__).parent.parent
README, MODELS = ROOT / "README.md", ROOT / "docs" / "models.md"


def models() -> str:
    """Architectures against classes."""
    lines = ["| architecture | classes |", "|---|---|"]
    for model_type, architecture in sorted(ARCHITECTURES.items()):
        classes = ", ".join(static.suffix if static else architecture.base for static in architecture.classes)
        lines.append(f"| `{model_type}` | `{architecture.name}`: {classes}, AdapterModel |")
    return "\n".join(lines)


def methods() -> str:
    """Methods against the names that users write."""
    lines = ["| method | config | on |", "|---|---|---|"]
    for names in distinct():
        config = PRESETS[names[0]]
        on = [name for name in sorted(ARCHITECTURES) if acts_on(config, name)]
        where = "all of them" if len(on) == len(ARCHITECTURES) else ", ".join(on)
        lines.append(f"| {', '.join(f'`{name}`' for name in names)} | `{type(config).__name__}` | {where} |")
    return "\n".join(lines)


def distinct() -> list[list[str]]:
    """The presets' names, those of the same config together."""
    names: dict[str, list[str]] = {}
    for name, config in PRESETS.items():
        names.setdefault(repr((type(config).__name__, config.to_dict())), []).append(name)
    return list(names.values())


def acts_on(config: AdapterConfig, model_type: str) -> bool:
    """Whether a method has a site in an architecture."""
    architecture = ARCHITECTURES[model_type]
    network = architecture.network(architecture.config())
    return any(config.covers(site, network) for site in sites_of(network))


def grid(rows: list[str], has: Callable[[str, str], bool]) -> str:
    """Things by rows, architectures by columns, a dot where the one has the other."""
    columns = sorted(ARCHITECTURES)
    lines = [f"| | {' | '.join(f'`{name}`' for name in columns)} |", f"|---|{':-:|' * len(columns)}"]
    for row in rows:
        dots = " | ".join("●" if has(row, column) else "" for column in columns)
        lines.append(f"| `{row}` | {dots} |")
    return "\n".join(lines)


def heads_by_model() -> str:
    """Flexible heads against architectures."""
    kinds = [kind for kind in HEADS if any(kind in architecture.heads for architecture in ARCHITECTURES.values())]
    return grid(kinds, lambda kind, name: kind in ARCHITECTURES[name].heads)


def methods_by_model() -> str:
    """Methods against architectures."""
    return grid([names[0] for names in distinct()], lambda preset, name: acts_on(PRESETS[preset], name))


def files() -> str:
    """Architectures against the file that adds each, its length, and what it says of itself."""
    lines = ["| architecture | file | lines | what it is |", "|---|---|--:|---|"]
    for model_type, architecture in sorted(ARCHITECTURES.items()):
        path, about = source_of(architecture)
        length = path.read_text(encoding="utf-8").count("\n")
        lines.append(f"| `{model_type}` | `{path.relative_to(ROOT).as_posix()}` | {length} | {about} |")
    return "\n".join(lines)


def source_of(architecture: Architecture) -> tuple[Path, str]:
    """The file that adds an architecture, and the first line of its docstring."""
    module = inspect.getmodule(architecture.config)
    assert module is not None
    return Path(inspect.getfile(module)), (module.__doc__ or "").split("\n")[0].partition(": https")[0]


TABLES: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"models": models, "methods": methods},
    MODELS: {"files": files, "heads": heads_by_model, "methods": methods_by_model},
}


def filled(path: Path) -> str:
    """A file's text with the tables between its marks brought up to date."""
    text = path.read_text(encoding="utf-8")
    for name, table in TABLES[path].items():
        marks = f"<!-- {name} -->", f"<!-- /{name} -->"
        pattern = f"({re.escape(marks[0])}\n).*?({re.escape(marks[1])})"
        text, count = re.subn(pattern, lambda m, t=table: f"{m[1]}{t()}\n{m[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"{path.name} needs the marks {marks[0]} and {marks[1]}, once")
    return text


if __name__ == "__main__":
    for document in TABLES:
        document.write_text(filled(document), encoding="utf-8")
