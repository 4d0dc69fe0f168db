"""Running heads: one over the whole batch, or each over its own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from adapterzoo.core.outputs import MultiHeadOutput
from adapterzoo.heads.arguments import for_head
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.classification import ClassificationHead
from adapterzoo.heads.each import logits_of
from adapterzoo.heads.features import Features
from adapterzoo.heads.label_rows import Rows


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
    if head.reads_cls or (head.reads_cls is None and (not features.reads_end or features.cls_at is not None)):
        cls_output = features.cls(head.reads_pooler)
    return head(features, cls_output=cls_output, attention_mask=attention_mask, return_dict=as_dict, **labels)


def run_each(
    heads: Sequence[PredictionHead | None],
    features: Features,
    attention_mask: Tensor | None,
    labels: Mapping[str, Any],
) -> MultiHeadOutput:
    """Every head over all rows; their losses are added up.

    Args:
        heads: the heads; None is passed over.
        features: what they read.
        attention_mask: (B, T), for custom heads.
        labels: labels for all heads, or entries for each.
    """
    outputs = [
        run_head(head, features, attention_mask, for_head(labels, heads, number), True)
        for number, head in enumerate(heads)
        if head is not None
    ]
    rows = tuple(range(features.layout.rows // features.choices))
    return _together(outputs, [rows] * len(outputs))


def _together(outputs: list[Any], rows: list[tuple[int, ...]]) -> MultiHeadOutput:
    losses = [output["loss"] for output in outputs if output.get("loss") is not None]
    return MultiHeadOutput(sum(losses[1:], losses[0]) if losses else None, tuple(outputs), tuple(rows))


def run_by_rows(
    heads: Sequence[PredictionHead | None],
    sizes: tuple[int, ...],
    numbers: Sequence[int],
    features: Features,
    attention_mask: Tensor | None,
    labels: Mapping[str, Any],
) -> MultiHeadOutput:
    """Each head over its own run of rows.

    Args:
        heads: a head for each run; None for the bare network's output.
        sizes: rows of each run.
        numbers: each row's number in the caller's batch. Several runs may have the same rows, as if the batch were
            repeated.
        features: what the heads read, for all runs one after the other.
        attention_mask: (B, T), for custom heads.
        labels: labels for all heads, in the order of the runs or, where rows are repeated, of the caller's batch; or
            entries for each head, for all rows of the caller's batch or for the head's own.

    Raises:
        ValueError: the sizes do not add up to the batch, or labels have other rows.
    """
    rows = Rows(tuple(numbers), tuple(sizes))
    outputs, answered = [], []
    cuts = features.layout.cuts(sizes)
    logits = logits_of(heads, cuts, features)
    for number, (head, cut) in enumerate(zip(heads, cuts, strict=True)):
        if not sizes[number]:
            continue
        narrow = features if number in logits and features.tells_nothing else features.rows(cut)
        if isinstance(head, ClassificationHead) and number in logits:
            outputs.append(head.respond(narrow, logits[number], True, **rows.of(labels, heads, number)))
        elif head is None:
            outputs.append(narrow.pooled_outputs())
        else:
            mask = None if attention_mask is None else rows.of_all("attention_mask", attention_mask, number)
            outputs.append(run_head(head, narrow, mask, rows.of(labels, heads, number), True))
        answered.append(rows.run(number))
    return _together(outputs, answered)
