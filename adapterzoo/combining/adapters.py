"""One adapter made of several."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from adapterzoo.adapter import Adapter
from adapterzoo.combining.options import Options
from adapterzoo.combining.strategies import STRATEGIES
from adapterzoo.nn.transformer import Transformer


def combine_adapters(
    parts: Mapping[str, Adapter],
    weights: Mapping[str, float],
    strategy: str,
    options: Options,
    network: Transformer,
) -> Adapter:
    """A new adapter. The others are not changed, nor is the generator of random numbers.

    Args:
        parts: the adapters by name.
        weights: a weight for each.
        strategy: how; see STRATEGIES.
        options: the strategy's options.
        network: what the adapter is for.

    Raises:
        UnknownName: there is no such strategy.
        ValueError: options are wrong, or the adapters cannot be combined so.
    """
    way = STRATEGIES[strategy]
    options.check(strategy, way.needs, way.takes)
    with torch.no_grad():
        made = way(parts, [weights[name] for name in parts], options, network)
    return made.requires_grad_(True)
