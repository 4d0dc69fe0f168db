"""One head made of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterzoo.combining import STRATEGIES, Options, combine_states
from adapterzoo.combining.elementwise import Elementwise
from adapterzoo.core.registry import NamedModules
from adapterzoo.heads.base import HeadHost, PredictionHead
from adapterzoo.heads.make import make_head

NOT_COMPARED = ("dropout_prob",)
"""Settings in which heads that are averaged may differ: the new head has the first one's."""


def average(
    model: HeadHost,
    heads: NamedModules[PredictionHead],
    name: str,
    weights: Mapping[str, float],
    strategy: str,
    options: Options,
) -> PredictionHead:
    """A new head, made of others. See `AdapterModel.average_head`."""
    parts = [heads[part] for part in weights]
    way = STRATEGIES[strategy]
    if not isinstance(way, Elementwise) or way.only_pairs:
        raise ValueError(f"combine_strategy {strategy!r} is for adapters of LoRA, not for heads")
    options.check(strategy, way.needs, way.takes)
    _check_alike(list(weights), parts)
    like = model.base.token.weight
    made = make_head(model, name, parts[0].config).to(device=like.device, dtype=like.dtype)
    own = set(made.state_dict()) - made.tied
    states = [{key: tensor for key, tensor in part.state_dict().items() if key in own} for part in parts]
    made.load_state_dict(combine_states(way.mix, states, list(weights.values()), options), strict=False)
    return made


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
