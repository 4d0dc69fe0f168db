"""Heads made from their configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_type_hints

from adapterzoo.core.fields import CHANCE, DEPTH, POSITIVE, SIZE, one_of, wrong_fields
from adapterzoo.core.labels import LABELS, by_number
from adapterzoo.core.registry import unknown
from adapterzoo.heads.base import HEADS, HeadHost, PredictionHead
from adapterzoo.heads.similarity import POOLINGS
from adapterzoo.nn.activations import ACTIVATION

RULES = {
    **dict.fromkeys(("num_choices", "vocab_size", "embedding_size"), SIZE),
    "num_labels": LABELS,
    "layers": DEPTH,
    "scale": POSITIVE,
    "activation_function": ACTIVATION,
    "dropout_prob": CHANCE,
    "input_dropout": CHANCE,
    "pooling": one_of(*POOLINGS),
}
"""What settings of built-in heads must be, beyond the type that they are declared with."""


def make_head(model: HeadHost, name: str, config: Mapping[str, Any]) -> PredictionHead:
    """The head that a config describes.

    Args:
        model: what it is for.
        name: its name.
        config: `head_type`, and the settings of that type; `label2id` or `id2label` for labels.

    Raises:
        ValueError: the model has no such type, or settings are wrong; all are listed.
    """
    settings = dict(config)
    kind = settings.pop("head_type", None)
    known = model.head_types
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(unknown(f"head type for {type(model).__name__}", kind, known))
    made_by = known[kind]
    label2id = settings.pop("label2id", None)
    if label2id is not None:
        settings["id2label"] = by_number(label2id)
    _check(kind, made_by, settings)
    try:
        head = made_by(model, name, **settings)  # type: ignore[arg-type,call-arg]
    except TypeError as error:
        raise ValueError(f"the {kind} head cannot be made from {sorted(settings)}: {error}") from error
    if head.reads_pooler and model.base.pooler is None:
        raise ValueError(f"the {kind} head reads the pooler's output, but {type(model).__name__} has no pooler")
    if kind not in HEADS:
        head.config["head_type"] = kind
    return head


def _check(kind: str, made_by: type[PredictionHead], settings: Mapping[str, Any]) -> None:
    """Check the settings of a built-in head; what a custom one takes is its own affair."""
    if HEADS.get(kind) is not made_by:
        return
    kinds = _kinds(made_by.__init__)
    wrong = [unknown("setting", key, kinds) for key in settings if key not in kinds]
    wrong += wrong_fields({key: value for key, value in settings.items() if key != "id2label"}, kinds, RULES)
    if wrong:
        raise ValueError(f"{kind} head: " + "; ".join(wrong))


@cache
def _kinds(init: Callable[..., None]) -> dict[str, Any]:
    """The types that a head's settings are declared with."""
    hints = get_type_hints(init)
    return {key: hint for key, hint in hints.items() if key not in ("model", "head_name", "return")}
