"""What is told of any directory, as plain data: sizes, parameters, dtypes, labels, and which tensor is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.config import NetworkConfig

BESIDE = ("adapters", "fusions", "heads", "embeddings")
"""Where facts have lists of facts: of what lies beside a model, or makes up a setup."""

LISTS = ("unused", "without_place", "unexpected", "converted")
"""Where facts have lists of tensors' foreign names that have no row of their own in the table."""


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


def told(facts: Mapping[str, Any]) -> list[str]:
    """The foreign names of all tensors that some facts tell of, those beside them not included."""
    listed = [name for key in LISTS for name in facts.get(key, ())]
    inside = [name for one in within(facts) for name in told(one)]
    return [*(row["theirs"] for row in facts["tensors"]), *listed, *inside]


def within(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The facts of adapters, fusions and heads that lie among a model's own tensors."""
    return [one for several in facts.get("inside", {}).values() for one in several]


def every(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Some facts, and those of everything that lies beside."""
    yield facts
    for kind in BESIDE:
        for one in facts.get(kind, ()):
            yield from every(one)
    head = facts.get("head")
    if head and "kind" in head:  # of a model it is told in place, not by facts of its own
        yield from every(head)


def misplaced(unexpected: Iterable[str], missing: Iterable[str]) -> list[str]:
    """Tensors with no place and places with no tensor, in words."""
    return [*(f"{key} has no place" for key in unexpected), *(f"{key} is not there" for key in missing)]
