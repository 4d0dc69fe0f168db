"""What each architecture took: shared parts that its file builds on, and in what its numbers are not BERT's."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.core.config import NetworkConfig

FIRST = "bert"
EVERYONES = {"base", "config"}  # what an architecture and a config are
SIZES = {"layers", "width", "heads", "inner", "vocab", "positions"}
VALUES = {"pad_id", "eps", "dropout", "attention_dropout", "activation_dropout", "activation"}
"""Numbers that every network has, and that say nothing about what it is made of."""


def source_of(architecture: Architecture) -> tuple[Path, str]:
    """The file that adds an architecture, and the first line of its docstring."""
    module = inspect.getmodule(architecture.config)
    assert module is not None
    return Path(inspect.getfile(module)), (module.__doc__ or "").split("\n")[0].partition(": https")[0]


def length_of(path: Path) -> int:
    """How many lines a file has."""
    return path.read_text(encoding="utf-8").count("\n")


def builds_on(architecture: Architecture) -> dict[str, int]:
    """The modules beside an architecture's own that it imports, and their lines."""
    path, _ = source_of(architecture)
    imported = [node.module for node in ast.parse(path.read_text(encoding="utf-8")).body if _is_beside(node)]
    names = sorted({name.rpartition(".")[2] for name in imported} - EVERYONES)
    return {name: length_of(path.with_name(f"{name}.py")) for name in names}


def _is_beside(node: ast.stmt) -> Any:
    return isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("adapterzoo.archs.")


def numbers_unlike(architecture: Architecture) -> list[str]:
    """The fields of StackConfig and NetworkConfig that may be what they never are in BERT, or never what they may be.

    All that a config's switches bring is looked at, each by itself.
    """
    own, first = _numbers(architecture), _numbers(ARCHITECTURES[FIRST])
    return [name for name in own if name not in SIZES | VALUES and own[name] != first[name]]


def _numbers(architecture: Architecture) -> dict[str, set[str]]:
    """What a network's numbers may be, as text, by field."""
    found: dict[str, set[str]] = {}
    for config in _configs(architecture):
        network: NetworkConfig = architecture.network(config)
        parts = [*network.stacks().values(), network]
        pairs = [(field.name, getattr(part, field.name)) for part in parts for field in fields(part)]
        pairs.append(("stacks", len(network.stacks())))
        for name, value in pairs:
            if name not in ("encoder", "decoder", "init_std"):
                found.setdefault(name, set()).add(repr(value))
    return found


def _configs(architecture: Architecture) -> Iterator[Any]:
    """The usual config, and that with each switch on that is off by default; a size that is 0 is a switch, too."""
    kind = architecture.config
    yield kind()
    yield kind(is_decoder=True, add_cross_attention=True) if "is_decoder" not in kind.rules else kind()
    for name, value in {"is_decoder": False, **kind.defaults, **kind.unlisted}.items():
        if value is False or (type(value) is int and value == 0):
            try:
                config = kind(**{name: True if value is False else 3})
                architecture.network(config)
            except ValueError:  # it is not to be had by itself
                continue
            yield config


def fields_unlike(architecture: Architecture) -> tuple[int, int]:
    """How many fields of its config.json BERT's has not, and how many of BERT's it has not."""
    own, first = (set(kind.config.defaults) for kind in (architecture, ARCHITECTURES[FIRST]))
    return len(own - first), len(first - own)


def table() -> str:
    """Architectures against what they took."""
    lines = ["| architecture | builds on (lines) | numbers unlike BERT's | `config.json` |", "|---|---|---|--:|"]
    for model_type, architecture in sorted(ARCHITECTURES.items()):
        parts = ", ".join(f"`{name}` ({length})" for name, length in builds_on(architecture).items())
        numbers = ", ".join(f"`{name}`" for name in numbers_unlike(architecture))
        more, less = fields_unlike(architecture)
        lines.append(f"| `{model_type}` | {parts} | {numbers or '–'} | +{more} −{less} |")
    return "\n".join(lines)
