"""Running heads: one over the whole batch, or each over its own rows."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from adapterzoo.core.outputs import MultiHeadOutput
from adapterzoo.core.registry import listing
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

    Raises:
        TypeError: the head takes no argument of such a name.
    """
    if head.head_type in HEADS and type(head) is HEADS[head.head_type]:
        _check_arguments(head, labels)
    cls_output = None
    if head.reads_cls or (head.reads_cls is None and (features.encoder is None or features.cls_at is not None)):
        cls_output = features.cls(bool(head.config.get("use_pooler")))
    return head(features, cls_output=cls_output, attention_mask=attention_mask, return_dict=as_dict, **labels)


def _check_arguments(head: PredictionHead, labels: dict[str, Any]) -> None:
    taken = set(inspect.signature(head.forward).parameters) - {
        "outputs",
        "cls_output",
        "attention_mask",
        "kwargs",
    }
    for name in labels:
        if name not in taken:
            raise TypeError(f"the {head.head_type} head takes no {name!r}; it takes {listing(taken - {'return_dict'})}")


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
        ValueError: the sizes do not add up to the batch.
    """
    choices = features.choices
    outputs, rows, losses, first = [], [], [], 0
    for head, size, cut in zip(heads, sizes, features.layout.cuts(tuple(n * choices for n in sizes)), strict=True):
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
