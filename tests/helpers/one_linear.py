"""One linear layer as a site, for formulas: a unit there, what it makes of y, and the same with the unit merged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo.core.run import BARE, Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import resolve_config
from tests.helpers.tiny import randomise, tiny_model

D_IN, D_OUT, ROWS = 10, 6, 5


class OneLinear:
    """A linear layer with a bias, and an input for it.

    Args:
        seed: of its numbers.
        dtype: of all tensors.
    """

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(seed)
        self.linear = nn.Linear(D_IN, D_OUT, dtype=dtype)
        randomise(self.linear)
        self.linear.requires_grad_(False)
        self.x, self.dtype = torch.randn(ROWS, D_IN, dtype=dtype), dtype
        self.site = Site("encoder", 0, 0, "mlp.up", "linear", D_IN, D_OUT, 2)

    def pair(self) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        return self.linear.weight, self.linear.bias

    def unit(self, config: Any, random: bool = True) -> Any:
        """The unit of a config, in the layer's dtype; its weights random, or as they are at first."""
        made = resolve_config(config).replace(sites="mlp.up")
        shared = made.shared([self.site], tiny_model("bert").base.config)
        unit = made.unit(self.site, shared, lambda site: self.pair())
        for module in (unit, *shared.values()):
            module.to(self.dtype)
            if random:
                randomise(module, 0.5)
        return unit

    def through(self, *units: Any) -> Tensor:
        """y as units leave it, one after the other."""
        y = self.linear(self.x)
        for unit in units:
            y = unit(y, Ctx(None, BARE, x=self.x, weight=self.pair))  # type: ignore[arg-type]
        return y

    def merged(self, *units: Any) -> Tensor:
        """The same of a layer into which they are merged, in that order."""
        weight, bias = self.pair()
        for unit in units:
            weight, bias = unit.merged(weight, bias, self.pair())
        return nn.functional.linear(self.x, weight, bias)
