"""Running heads: one over the whole batch, or each over its own rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.outputs import MultiHeadOutput
from adapterzoo.core.registry import unknown
from adapterzoo.core.sites import Cut
from adapterzoo.heads.base import HEADS, PredictionHead
from adapterzoo.heads.features import Features


def run_head(
    head: PredictionHead,
    features: Features,
    attention_mask: Tensor | None,
    labels: dict[str, Any],
    as_dict: bool,
) -> Any:
    """A head's output.

    Args:
        head: the head.
        features: what it reads.
        attention_mask: (B, T), for custom heads.
        labels: labels and whatever else the model was called with.
        as_dict: whether to return an output or a tuple.
    """
    cls_output = None
    if head.reads_cls or (head.reads_cls is None and (features.encoder is None or features.cls_at is not None)):
        cls_output = features.cls(head.reads_pooler)
    return head(features, cls_output=cls_output, attention_mask=attention_mask, return_dict=as_dict, **labels)


def check_arguments(
    model: str, network: Iterable[str], heads: Sequence[PredictionHead], given: Mapping[str, Any]
) -> None:
    """Check the arguments of a call that the network does not read: each head must read them.

    Args:
        model: the name of the model's class.
        network: the arguments that the network reads.
        heads: the heads that will run. Custom ones may read anything.
        given: the arguments.

    Raises:
        TypeError: a head does not read one, or there is no head; or one is no tensor.
    """
    if torch.compiler.is_compiling():
        return
    for name, value in given.items():
        if not heads and name in _read_by_any():
            raise TypeError(f"{model} has no active head, which is what reads {name!r}")
        if not heads:
            raise TypeError(unknown(f"argument of {model} named", name, network))
        for head in filter(_is_built_in, heads):
            reads = _reads(type(head).forward)
            if name not in reads:
                raise TypeError(
                    unknown(f"argument of {model} or its {head.head_type} head named", name, [*network, *reads])
                )
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} must be a tensor, not a {type(value).__name__}")


def _is_built_in(head: PredictionHead) -> bool:
    return HEADS.get(head.head_type) is type(head)


@cache
def _reads(forward: Callable[..., Any]) -> frozenset[str]:
    """The arguments of a call that a built-in head reads."""
    contract = {"self", "outputs", "cls_output", "attention_mask", "return_dict", "kwargs"}
    return frozenset(inspect.signature(forward).parameters) - contract


@cache
def _read_by_any() -> frozenset[str]:
    return frozenset().union(*(_reads(kind.forward) for kind in HEADS.values()))


def run_by_rows(
    heads: Sequence[PredictionHead | None],
    sizes: tuple[int, ...],
    numbers: Sequence[int],
    features: Features,
    attention_mask: Tensor | None,
    labels: dict[str, Any],
) -> MultiHeadOutput:
    """Each head over its own run of rows.

    Args:
        heads: a head for each run; None for the bare network's output.
        sizes: rows of each run.
        numbers: each row's number in the caller's batch.
        features: what the heads read, for all rows.
        attention_mask: (B, T), for custom heads.
        labels: labels for all rows.

    Raises:
        ValueError: the sizes do not add up to the batch, or labels have other rows.
    """
    for name, value in labels.items():
        if isinstance(value, Tensor) and value.dim() and value.size(0) != len(numbers):
            raise ValueError(f"{name} has {value.size(0)} rows, but the batch has {len(numbers)}")
    outputs, rows, losses, first = [], [], [], 0
    for head, size, cut in zip(heads, sizes, features.layout.cuts(sizes), strict=True):
        own = slice(first, first + size)
        first += size
        if size == 0:
            continue
        output = _run_cut(head, features, cut, own, attention_mask, labels)
        outputs.append(output)
        rows.append(tuple(numbers[own]))
        if output.get("loss") is not None:
            losses.append(output["loss"])
    total = sum(losses[1:], losses[0]) if losses else None
    return MultiHeadOutput(loss=total, head_outputs=tuple(outputs), rows=tuple(rows))


def _run_cut(
    head: PredictionHead | None,
    features: Features,
    cut: Cut,
    own: slice,
    attention_mask: Tensor | None,
    labels: dict[str, Any],
) -> Any:
    narrow = features.rows(cut)
    if head is None:
        return narrow.pooled_outputs()
    mask = None if attention_mask is None else attention_mask[own]
    mine = {key: value[own] if isinstance(value, Tensor) and value.dim() else value for key, value in labels.items()}
    return run_head(head, narrow, mask, mine, True)
