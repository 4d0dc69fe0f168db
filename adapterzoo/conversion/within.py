"""Adapters, fusions and heads that lie among a model's own tensors, as AdapterHub's library saves a whole model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from adapterzoo import head_files
from adapterzoo.conversion.adapters import adapter_content
from adapterzoo.conversion.checkpoint import Checkpoint
from adapterzoo.conversion.facts import told
from adapterzoo.conversion.fusions import fusion_content
from adapterzoo.conversion.heads import head_content
from adapterzoo.formats import Content, adapterhub_model
from adapterzoo.store import read_json, require


class Within(NamedTuple):
    """What is inside a model.

    Attributes:
        parts: for each kind of which there are any, what is told of each part.
        unexpected: tensors that are neither the model's nor any part's.
        unused: tensors of these kinds that no part has.
        problems: why it cannot be loaded, in words.
    """

    parts: dict[str, list[dict[str, Any]]]
    unexpected: list[str]
    unused: list[str]
    problems: list[str]


def within(checkpoint: Checkpoint) -> Within:
    """What config.json and the tensors tell of what is inside a model."""
    config = read_json(require(checkpoint.source, "config.json"))
    over = sorted(checkpoint.fit.unexpected)
    if not adapterhub_model.is_inside(config):
        return Within({}, over, [], [])
    try:
        inside = adapterhub_model.split(config, checkpoint.tensors)
    except ValueError as error:
        return Within({}, over, [], [str(error)])
    kinds = {kind: _there(parts, checkpoint) for kind, parts in inside.parts.items()}
    if not any(part.tensors for parts in kinds.values() for part in parts.values()):
        return Within({}, over, [], [])  # config.json tells of what once was there, and nobody misses it
    problems: list[str] = []
    found = {kind: _facts(kind, parts, checkpoint, problems) for kind, parts in kinds.items() if parts}
    known = {name for several in found.values() for one in several for name in told(one)}
    left = [name for name in over if name not in known]
    unexpected = [name for name in left if name in inside.tensors]
    return Within(found, unexpected, [name for name in left if name not in inside.tensors], problems)


def _there(parts: Mapping[str, Content], checkpoint: Checkpoint) -> dict[str, Content]:
    """The parts that are looked for: a class with a fixed head takes no others, so that these may be but names."""
    fixed = checkpoint.model.static is not None
    return {name: part for name, part in parts.items() if part.tensors or not (fixed and part.kind == "head")}


def _facts(
    kind: str, parts: Mapping[str, Content], checkpoint: Checkpoint, problems: list[str]
) -> list[dict[str, Any]]:
    """What is told of parts; what is wrong with one is added to the problems."""
    found = []
    for name, part in parts.items():
        start = {"kind": part.kind, "format": "adapterhub", "source": os.fspath(checkpoint.source)}
        try:
            one = {**start, **_content(part, checkpoint), "version": None, "library": None}
        except ValueError as error:
            held: Sequence[str] = sorted(part.tensors)
            one = {**start, "name": name, "parameters": 0, "dtypes": {}, "tensors": [], "unexpected": held}
            one["problems"] = [str(error)]
        problems += [f"{part.kind} {name!r} inside: {problem}" for problem in one["problems"]]
        found.append(one)
    return found


def _content(part: Content, checkpoint: Checkpoint) -> dict[str, Any]:
    if part.kind == "head":
        return head_content(part.config, head_files.head_file(part.config, part.tensors), checkpoint.config)
    look = adapter_content if part.kind == "adapter" else fusion_content
    return {**look("config.json", part.config, part.tensors, checkpoint.model.base.config), "head": None}
