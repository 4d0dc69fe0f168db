"""The scores of gates and fusions in a model's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.outputs import ModelOutput, Scores
from adapterzoo.core.run import Note
from adapterzoo.core.sites import Site
from adapterzoo.host import Host
from adapterzoo.managing import LOCATIONS, location
from adapterzoo.rows import restore

FIELDS = {"adapter_gating_scores": "gate", "adapter_fusion_attentions": "fusion"}
"""The outputs' fields, and what their notes tell."""


def attach(
    output: Any,
    asked: Mapping[str, bool | None],
    model: Host,
    notes: Sequence[Note] | None,
    order: list[int] | None,
    choices: int,
) -> Any:
    """An output with the scores that were asked for; a tuple has them at its end.

    Args:
        output: a model's output.
        asked: which of `FIELDS` were asked for.
        model: whose output.
        notes: what units told.
        order: the rows' numbers in the order in which they were run; None: as they are.
        choices: rows of each question, where inputs were questions.
    """
    found = {field: _scores(model, notes or [], what, order, choices) for field, what in FIELDS.items() if asked[field]}
    if isinstance(output, tuple):
        return (*output, *found.values())
    if isinstance(output, ModelOutput):
        return replace(output, **found)
    for field, scores in found.items():  # of a custom head
        output[field] = scores
    return output


def _scores(model: Host, notes: Sequence[Note], what: str, order: list[int] | None, choices: int) -> Scores:
    """The notes of one kind. An adapter that acts on some rows alone has just these, in the caller's order."""
    by_site: dict[tuple[str, Site], list[Tensor]] = {}
    for note in notes:
        if note.what == what:
            by_site.setdefault((note.name, note.site), []).append(note.value)
    scores: Scores = {}
    for (name, site), values in by_site.items():
        value = _in_order(_joined(values), order, choices)
        places = scores.setdefault(name, {}).setdefault(site.layer, {})
        if what == "fusion":
            places[LOCATIONS.get(site.name, site.name) if site.kind == "join" else site.name] = value
            continue
        place = location(model, model.adapters[name], site)
        places[place] = value if place not in places else torch.cat([places[place], value], 1)
    if what == "gate":
        return {
            name: {layer: {k: _narrow(v) for k, v in places.items()} for layer, places in layers.items()}
            for name, layers in scores.items()
        }
    return scores


def _joined(values: list[Tensor]) -> Tensor:
    """What was told at one place of several runs of rows, one after the other; of several runs of columns, the last."""
    alike = len({value.shape[1:] for value in values}) == 1
    return torch.cat(values) if alike else values[-1]


def _narrow(value: Tensor) -> Tensor:
    return value.squeeze(1) if value.size(1) == 1 else value


def _in_order(value: Tensor, order: list[int] | None, choices: int) -> Tensor:
    if order is None or value.size(0) not in (len(order), len(order) * choices):
        return value
    restored: Tensor = restore((value,), order, choices)[0]
    return restored
