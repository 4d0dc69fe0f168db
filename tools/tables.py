"""Writes the documentation's tables of what there is, from the registries: `python -m tools.tables`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.core.sites import sites_of
from adapterzoo.heads import HEADS
from adapterzoo.methods import PRESETS, AdapterConfig
from tools.took import length_of, source_of
from tools.took import table as took

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


def grid(rows: list[str], mark: Callable[[str, str], str]) -> str:
    """Things by rows, architectures by columns, and how the one has the other."""
    columns = sorted(ARCHITECTURES)
    lines = [f"| | {' | '.join(f'`{name}`' for name in columns)} |", f"|---|{':-:|' * len(columns)}"]
    for row in rows:
        lines.append(f"| `{row}` | {' | '.join(mark(row, column) for column in columns)} |")
    return "\n".join(lines)


def heads_by_model() -> str:
    """Types of heads against architectures: a dot where one may be added, a ring where it may be to the decoder alone.

    A diamond where there is one in classes with a fixed head only.
    """

    def mark(kind: str, name: str) -> str:
        architecture = ARCHITECTURES[name]
        alone = () if architecture.alone is None else architecture.alone.heads
        fixed = [static.head_type for static in architecture.statics]
        ways = {"●": architecture.heads, "○": alone, "◇": fixed}
        return next((sign for sign, kinds in ways.items() if kind in kinds), "")

    return grid(list(HEADS), mark)


def methods_by_model() -> str:
    """Methods against architectures."""
    return grid([names[0] for names in distinct()], lambda preset, name: "●" if acts_on(PRESETS[preset], name) else "")


def files() -> str:
    """Architectures against the file that adds each, its length, and what it says of itself."""
    lines = ["| architecture | file | lines | what it is |", "|---|---|--:|---|"]
    for model_type, architecture in sorted(ARCHITECTURES.items()):
        path, about = source_of(architecture)
        lines.append(f"| `{model_type}` | `{path.relative_to(ROOT).as_posix()}` | {length_of(path)} | {about} |")
    return "\n".join(lines)


TABLES: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"models": models, "methods": methods},
    MODELS: {"files": files, "took": took, "heads": heads_by_model, "methods": methods_by_model},
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
