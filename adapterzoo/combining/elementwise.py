"""Strategies that make each tensor of the new adapter, or head, of the tensors of the same name."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adapterzoo.adapter import Adapter
from adapterzoo.combining.alike import check_alike, pairs_in
from adapterzoo.combining.mixing import Mix
from adapterzoo.combining.options import Options
from adapterzoo.nn.transformer import Transformer

Shares = Callable[[float], tuple[float, float]]
"""An adapter's weight as the weights of its matrices A and B, where an update is B·A."""


def both(weight: float) -> tuple[float, float]:
    """w and w: B·A is weighted by w²."""
    return weight, weight


def only_b_negative(weight: float) -> tuple[float, float]:
    """|w| and w: B·A is weighted by w·|w| (Zhang et al. 2023, arXiv:2306.14870)."""
    return abs(weight), weight


def roots(weight: float) -> tuple[float, float]:
    """√|w| with the sign of w, and √|w|: B·A is weighted by w."""
    return math.copysign(math.sqrt(abs(weight)), weight), math.sqrt(abs(weight))


@dataclass(frozen=True)
class Elementwise:
    """Each tensor made of those of the same name; configs must agree.

    Attributes:
        mix: what makes one tensor of several.
        shares: how an adapter's weight is shared between A and B where an update is B·A.
        needs, takes: options.
        only_pairs: whether it is for adapters of such updates alone.
    """

    mix: Mix
    shares: Shares
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    only_pairs: bool = False

    def __call__(
        self, parts: Mapping[str, Adapter], weights: Sequence[float], options: Options, network: Transformer
    ) -> Adapter:
        """The new adapter.

        Raises:
            ValueError: configs differ, or the adapters are none that it is for.
        """
        check_alike({name: adapter.config for name, adapter in parts.items()})
        adapters = list(parts.values())
        first, second = pairs_in(adapters[0])
        alone = set(adapters[0].state_dict()) - first - second
        if self.only_pairs and alone:
            raise ValueError(f"LoRA alone can be combined so, but the adapters have {min(alone)}, too")
        shares = [self.shares(weight) for weight in weights]
        made = copy.deepcopy(adapters[0])
        by_name = {name: [share[0] for share in shares] for name in first}
        by_name |= {name: [share[1] for share in shares] for name in second}
        states = [adapter.state_dict() for adapter in adapters]
        made.load_state_dict(combine_states(self.mix, states, weights, options, by_name))
        return made


def combine_states(
    mix: Mix,
    states: Sequence[Mapping[str, Tensor]],
    weights: Sequence[float],
    options: Options,
    by_name: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Tensor]:
    """One state of several with the same names; what is no number with a fraction is the first's.

    Args:
        mix: what makes one tensor of several.
        states: the states.
        weights: a weight for each.
        options: for `mix`.
        by_name: other weights for some tensors.
    """
    made = {}
    for name, tensor in states[0].items():
        if tensor.is_floating_point():
            wide = torch.promote_types(tensor.dtype, torch.float32)
            own = weights if by_name is None else by_name.get(name, weights)
            tensor = mix([state[name].to(wide) for state in states], own, options).to(tensor.dtype)
        made[name] = tensor
    return made
