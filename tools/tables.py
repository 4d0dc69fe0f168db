"""Writes the README's tables of what there is, from the registries: `python -m tools.tables`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.core.sites import sites_of
from adapterzoo.methods import PRESETS, AdapterConfig

README = Path(__file__).parent.parent / "README.md"


def models() -> str:
    """Architectures against classes and heads."""
    lines = ["| architecture | HF's classes | flexible heads (`AutoAdapterModel`) |", "|---|---|---|"]
    for model_type, architecture in sorted(ARCHITECTURES.items()):
        statics = ", ".join(["Model", *(static.suffix for static in architecture.statics)])
        heads = ", ".join(architecture.heads)
        lines.append(f"| `{model_type}` | `{architecture.name}`: {statics} | {heads} |")
    return "\n".join(lines)


def methods() -> str:
    """Methods against the names that users write."""
    names: dict[str, list[str]] = {}
    for name, config in PRESETS.items():
        names.setdefault(repr((type(config).__name__, config.to_dict())), []).append(name)
    lines = ["| method | config | on |", "|---|---|---|"]
    for same in names.values():
        config = PRESETS[same[0]]
        where = ", ".join(name for name in sorted(ARCHITECTURES) if acts_on(config, name))
        lines.append(f"| {', '.join(f'`{name}`' for name in same)} | `{type(config).__name__}` | {where} |")
    return "\n".join(lines)


def acts_on(config: AdapterConfig, model_type: str) -> bool:
    """Whether a method has a site in an architecture."""
    architecture = ARCHITECTURES[model_type]
    network = architecture.network(architecture.config())
    return any(config.covers(site, network) for site in sites_of(network))


TABLES: dict[str, Callable[[], str]] = {"models": models, "methods": methods}


def filled(text: str) -> str:
    """A text with the tables between its marks brought up to date."""
    for name, table in TABLES.items():
        marks = f"<!-- {name} -->", f"<!-- /{name} -->"
        pattern = f"({re.escape(marks[0])}\n).*?({re.escape(marks[1])})"
        text, count = re.subn(pattern, lambda m, t=table: f"{m[1]}{t()}\n{m[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"README.md needs the marks {marks[0]} and {marks[1]}, once")
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
