"""Checkpoints of transformers on disk: their tensors, and the same under other names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

WEIGHTS = "model.safetensors"


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's one safetensors file."""
    return safetensors.torch.load_file(folder / WEIGHTS)


def write(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write the tensors in place of a folder's."""
    safetensors.torch.save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def renamed(folder: Path, change: Callable[[str], str]) -> int:
    """Give a folder's tensors other names; returns how many names changed."""
    before = tensors_of(folder)
    write(folder, {change(name): tensor for name, tensor in before.items()})
    return sum(change(name) != name for name in before)


def config_of(folder: Path) -> dict[str, Any]:
    """A folder's config.json."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config
