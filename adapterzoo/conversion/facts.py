"""What is told of any directory, as plain data: sizes, parameters, dtypes, labels, and which tensor is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.config import NetworkConfig


def network_sizes(network: NetworkConfig) -> dict[str, Any]:
    """The numbers that tell how large a network is."""
    stacks = network.stacks()
    return {
        "layers": {name: stack.layers for name, stack in stacks.items()},
        "width": network.width,
        "attention_heads": {name: stack.heads for name, stack in stacks.items()},
        "feed_forward": {name: stack.inner for name, stack in stacks.items()},
        "vocabulary": network.vocab,
        "positions": network.last.positions - network.last.position_offset,
    }


def weights(tensors: Mapping[str, Tensor], used: Iterable[str]) -> dict[str, Any]:
    """How many parameters some tensors are, and how many of them are of which dtype."""
    there = [tensors[key] for key in used]
    dtypes = Counter(dtype_name(tensor.dtype) for tensor in there)
    return {"parameters": sum(tensor.numel() for tensor in there), "dtypes": dict(dtypes)}


def tensor_row(
    tensors: Mapping[str, Tensor], key: str, ours: str, part: int = 0, parts: int = 1, turns: int = 1
) -> dict[str, Any]:
    """One line of the table: a foreign tensor, which is part `part` of `parts` of one of ours.

    With `turns` above 1, it is all of ours, but so many parts of ours take turns in it, one head's rows of each.
    """
    tensor = tensors[key]
    shape, dtype = list(tensor.shape), dtype_name(tensor.dtype)
    row = {"theirs": key, "ours": ours, "part": part, "parts": parts, "shape": shape, "dtype": dtype}
    return row if turns == 1 else {**row, "turns": turns}


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as files name it: "float32"."""
    return str(dtype).removeprefix("torch.")


def labels(label2id: Mapping[str, int] | None) -> dict[str, Any]:
    """How many labels there are, and their names in order; None where there are none."""
    if label2id is None:
        return {"labels": None, "names": None}
    return {"labels": len(label2id), "names": sorted(label2id, key=label2id.__getitem__)}
