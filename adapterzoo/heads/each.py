"""Heads of one form, each over its own rows: what can be done for all of them at once is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.run import Cut
from adapterzoo.heads.base import HEADS, Activation, PredictionHead
from adapterzoo.heads.classification import ClassificationHead
from adapterzoo.heads.features import Features
from adapterzoo.nn.each import linear

SMALL = 1 << 13
"""Numbers of a weight up to which copying the weights of all heads side by side costs less than a product for each."""


def logits_of(heads: Sequence[PredictionHead | None], cuts: Sequence[Cut], features: Features) -> dict[int, Tensor]:
    """The logits of heads that classify rows and of which there are several of one form, by their places.

    Args:
        heads: a head for each run of rows; None where there is none.
        cuts: the runs.
        features: what the heads read, for all runs.
    """
    forms: dict[Hashable, list[int]] = {}
    for place, (head, cut) in enumerate(zip(heads, cuts, strict=True)):
        form = None if head is None else _form(head)
        if form is not None and cut.rows.start < cut.rows.stop:
            forms.setdefault(form, []).append(place)
    found: dict[int, Tensor] = {}
    for places in forms.values():
        some = [head for place in places if (head := heads[place]) is not None]
        if len(some) > 1:
            cls = features.cls(some[0].reads_pooler)
            rows = [cls[cuts[place].rows] for place in places]
            found |= zip(places, _each(some, torch.cat(rows), [len(row) for row in rows]), strict=True)
    return found


def _form(head: PredictionHead) -> Hashable:
    """What heads agree in that differ in nothing but their weights; None where the head is of another kind."""
    kind = type(head)
    if not isinstance(head, ClassificationHead) or HEADS.get(kind.head_type) is not kind:
        return None
    layers = head._modules.values()
    if any(type(layer) not in (nn.Dropout, nn.Linear, Activation) for layer in layers):
        return None
    shapes = tuple(layer.weight.shape if isinstance(layer, nn.Linear) else type(layer) for layer in layers)
    settings = head.config
    dropout = tuple(layer.p for layer in layers if isinstance(layer, nn.Dropout)) if head.training else None
    return kind, shapes, settings["activation_function"], settings["use_pooler"], settings["bias"], dropout


def _each(heads: Sequence[PredictionHead], x: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """Each head's layers over its own rows: x (B, D), so many rows of each, to (rows, C) for each."""
    for layers in zip(*(head._modules.values() for head in heads), strict=True):
        first = layers[0]
        if isinstance(first, nn.Linear):
            x = _linears([(layer.weight, layer.bias) for layer in layers], x, sizes)
        elif first is not None and (heads[0].training or not isinstance(first, nn.Dropout)):
            x = first(x)
    rows: Sequence[Tensor] = x.split(list(sizes))
    return rows


def _linears(pairs: list[tuple[Tensor, Tensor | None]], x: Tensor, sizes: Sequence[int]) -> Tensor:
    """(B, d_in) to (B, d_out)."""
    if len(set(sizes)) == 1 and pairs[0][0].numel() <= SMALL:
        weight, biases = torch.stack([weight for weight, _ in pairs]), [bias for _, bias in pairs if bias is not None]
        bias = torch.stack(biases) if biases else None
        return linear(x.unflatten(0, (len(sizes), -1)), weight, bias).flatten(0, 1)
    rows = x.split(list(sizes))
    return torch.cat([F.linear(row, weight, bias) for row, (weight, bias) in zip(rows, pairs, strict=True)])
