"""Tensors of a checkpoint spread over several files, and the index that says which lies where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from adapterzoo.streaming import like

INDEX = "model.safetensors.index.json"
_PLACE = "model-{:05d}-of-{:05d}.safetensors"


def plan(tensors: Mapping[str, Tensor], name: str, size: int | None) -> dict[str, list[str]]:
    """Which tensors go into which file, in their order.

    Args:
        tensors: the tensors.
        name: the file's name, if it is one.
        size: bytes of tensors up to which a file is filled; a larger tensor has a file of its own. One file if None.

    Raises:
        ValueError: the size is not above 0.
    """
    if size is not None and size <= 0:
        raise ValueError(f"the size of shards is a number of bytes above 0, not {size}")
    groups: list[list[str]] = [[]]
    filled = 0
    for key in tensors:
        count = like(tensors, key).nbytes
        if size is not None and groups[-1] and filled + count > size:
            groups.append([])
            filled = 0
        groups[-1].append(key)
        filled += count
    if len(groups) == 1:
        return {name: groups[0]}
    return {_PLACE.format(number, len(groups)): keys for number, keys in enumerate(groups, 1)}


def index(tensors: Mapping[str, Tensor], files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The content of the index of several files, as transformers writes it."""
    total = sum(like(tensors, key).nbytes for keys in files.values() for key in keys)
    return {
        "metadata": {"total_size": total},
        "weight_map": {key: name for name, keys in files.items() for key in keys},
    }
