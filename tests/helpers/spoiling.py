"""Saved models and adapters, and ways to spoil their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers.tiny import tiny_model


def saved_model(folder: Path, architecture: str, suffix: str = "Model", **changes: Any) -> Any:
    """Save a tiny model in a folder, and return it."""
    model = tiny_model(architecture, suffix, **changes)
    model.save_pretrained(folder)
    return model


def edit_json(path: Path, drop: tuple[str, ...] = (), **changes: Any) -> None:
    """Change entries of a JSON file, or drop them."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in drop}))


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
