"""Heads made from their configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterzoo.core.registry import unknown
from adapterzoo.heads.base import HEADS, HeadHost, PredictionHead


def make_head(
    model: HeadHost,
    name: str,
    config: Mapping[str, Any],
    custom: Mapping[str, type[PredictionHead]] | None = None,
) -> PredictionHead:
    """The head that a config describes.

    Args:
        model: what it is for.
        name: its name.
        config: `head_type`, and the settings of that type; `label2id` or `id2label` for labels.
        custom: types beside the built-in ones.

    Raises:
        ValueError: there is no such type, or it has no such setting.
    """
    settings = dict(config)
    kind = settings.pop("head_type", None)
    known: dict[str, Any] = {**HEADS, **(custom or {})}
    if kind not in known:
        raise ValueError(unknown("head type", kind, known))
    label2id = settings.pop("label2id", None)
    if label2id is not None:
        settings["id2label"] = {int(number): label for label, number in label2id.items()}
    try:
        head: PredictionHead = known[kind](model, name, **settings)
    except TypeError as error:
        raise ValueError(f"the {kind} head cannot be made from {sorted(settings)}: {error}") from error
    if kind in (custom or {}):
        head.config["head_type"] = kind
    return head
