"""Saved models and adapters, and ways to spoil their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from adapterzoo.archs import ModelConfig
from tests.helpers.tiny import tiny_config, tiny_model

PARTS = ("encoder", "decoder")


def fields_of(architecture: str) -> type[ModelConfig]:
    """The class of the config that has an architecture's sizes: its own, or for a pair its encoder's."""
    config = tiny_config(architecture)
    return type(getattr(config, PARTS[0], config))


def saved_model(folder: Path, architecture: str, suffix: str = "Model", **changes: Any) -> Any:
    """Save a tiny model in a folder, and return it."""
    model = tiny_model(architecture, suffix, **changes)
    model.save_pretrained(folder)
    return model


def edit_json(path: Path, drop: tuple[str, ...] = (), **changes: Any) -> None:
    """Change entries of a JSON file, or drop them."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in drop}))


def edit_fields(folder: Path, drop: tuple[str, ...] = (), **changes: Any) -> None:
    """Change fields of a model's config.json, or drop them; of a pair, those of both its parts' configs."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    for part in [content[name] for name in PARTS if name in content] or [content]:
        part.update(changes)
        for name in drop:
            part.pop(name, None)
    path.write_text(json.dumps(content))


def edit_tensors(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Change what a safetensors file holds."""
    tensors = {name: tensor.clone() for name, tensor in change(load_file(path)).items()}
    save_file(tensors, path, {"format": "pt"})


def keys_of(path: Path) -> list[str]:
    """The names of a safetensors file's tensors."""
    return sorted(load_file(path))


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-100],
    "cut in the header": lambda data: data[:50],
    "longer than it says": lambda data: data + b"x" * 100,
    "garbage": lambda data: bytes(range(256)) * 4,
    "a header that is too long": lambda data: (2**63).to_bytes(8, "little") + data[8:],
    "text": lambda data: b"<html>not found</html>",
}
"""What may become of a safetensors file, by a name."""
