"""The weighted sum of heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adapterzoo.core.fields import fits
from adapterzoo.core.registry import NamedModules
from adapterzoo.heads.base import HeadHost, PredictionHead
from adapterzoo.heads.make import make_head

NOT_COMPARED = ("dropout_prob",)
"""Settings in which heads that are averaged may differ: the new head has the first one's."""


def average(
    model: HeadHost,
    heads: NamedModules[PredictionHead],
    name: str,
    which: Sequence[str] | Mapping[str, float],
    weights: Sequence[float] | None,
    normalize: bool,
) -> PredictionHead:
    """A new head, W = Σ wᵢ Wᵢ. See `AdapterModel.average_head`."""
    if isinstance(which, Mapping) and weights is not None:
        raise ValueError("give weights in head_list or by weights=, not both")
    names = [which] if isinstance(which, str) else list(which)
    if not names:
        raise ValueError("name at least one head to average")
    parts = [heads[part] for part in names]
    numbers = _weights(names, list(which.values()) if isinstance(which, Mapping) else weights, normalize)
    _check_alike(names, parts)
    like = model.base.token.weight
    made = make_head(model, name, parts[0].config).to(device=like.device, dtype=like.dtype)
    states = [part.state_dict() for part in parts]
    values = {
        key: sum(number * state[key] for number, state in zip(numbers, states, strict=True))
        for key in made.state_dict()
        if key not in made.tied
    }
    made.load_state_dict(values, strict=False)
    return made


def _weights(names: list[str], weights: Sequence[float] | None, normalize: bool) -> list[float]:
    if weights is None:
        return [1 / len(names)] * len(names)
    given = list(weights)
    if len(given) != len(names):
        raise ValueError(f"heads to average: {len(names)}, but weights: {len(given)}")
    if not all(fits(weight, float) for weight in given):
        raise ValueError(f"weights must be numbers, not {given}")
    if not normalize:
        return given
    total = math.fsum(given)
    if not total:
        raise ValueError(f"weights that add up to 0 cannot be normalised: {given}")
    return [weight / total for weight in given]


def _check_alike(names: list[str], parts: list[PredictionHead]) -> None:
    """Check that heads are of one type, have the same settings and tensors of the same shapes.

    Raises:
        ValueError: one differs from the first; everything in which it does is told.
    """
    first = _told(parts[0])
    for name, part in zip(names[1:], parts[1:], strict=True):
        own = _told(part)
        apart = [
            f"{key} is {own.get(key, 'not there')!r}, not {first.get(key, 'not there')!r}"
            for key in {**first, **own}
            if own.get(key) != first.get(key)
        ]
        if apart:
            raise ValueError(f"head {name!r} cannot be averaged with {names[0]!r}: its " + "; its ".join(apart))


def _told(head: PredictionHead) -> dict[str, Any]:
    """What heads must have in common: their settings, and the shapes of their tensors."""
    settings = {key: value for key, value in head.config.items() if key not in NOT_COMPARED}
    shapes = {f"shape of {key}": tuple(tensor.shape) for key, tensor in head.state_dict().items()}
    return {"head_type": head.head_type, **settings, **shapes}
