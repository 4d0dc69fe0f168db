"""Couplings: maps of the embeddings that can be inverted exactly, for invertible adapters.

Shapes: D the width, D₁ = ⌊D/2⌋ and D₂ = D - D₁ those of a token's two halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import seeded
from adapterzoo.methods.bottleneck_config import BnFields, narrowed
from adapterzoo.nn.activations import activation

CLAMP, SLOPE = 5.0, 0.636
"""GLOW scales by exp(CLAMP·SLOPE·atan(s / CLAMP)), which lies between exp(-CLAMP) and exp(CLAMP)."""


class Coupling(nn.Module):
    """A map of each token's two halves, and its inverse.

    Args:
        config: the numbers.
        site: the place, for the width.
    """

    def __init__(self, config: BnFields, site: Site) -> None:
        super().__init__()
        self.config, self.width = config, site.d_out
        self.first = self.width // 2
        self.second = self.width - self.first
        with seeded(config.init_weights_seed):
            self.build()

    def build(self) -> None:
        """Make the networks."""
        raise TypeError(f"{type(self).__name__} is no coupling: it has no networks")

    def forth(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """(…, D₁), (…, D₂) to the same."""
        raise TypeError(f"{type(self).__name__} is no coupling: it maps nothing")

    def back(self, y1: Tensor, y2: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `forth`."""
        raise TypeError(f"{type(self).__name__} is no coupling: it inverts nothing")

    def net(self, d_in: int, d_out: int) -> nn.Sequential:
        """W₂·f(W₁·x), ⌊d_in / inv_adapter_reduction_factor⌋ wide within, at least 1."""
        factor = self.config.inv_adapter_reduction_factor
        assert factor is not None
        inner = max(1, narrowed(d_in, factor))
        layers = nn.Linear(d_in, inner), nn.Linear(inner, d_out)
        for linear in layers:
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        return nn.Sequential(layers[0], _Function(activation(self.config.non_linearity)), layers[1])

    def forward(self, value: Tensor, ctx: Ctx) -> Tensor:
        """(…, D) to (…, D)."""
        return torch.cat(self.forth(*self._halves(value)), -1)

    def inverse(self, value: Tensor, ctx: Ctx) -> Tensor:
        """The inverse of `forward`.

        Words that are scored from vectors of another width than the embeddings' are so by a matrix that has nothing to
        do with these: the value stays.
        """
        if value.size(-1) != self.width:
            return value
        return torch.cat(self.back(*self._halves(value)), -1)

    def _halves(self, value: Tensor) -> tuple[Tensor, Tensor]:
        return value[..., : self.first], value[..., self.first :]


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Nice(Coupling):
    """Dinh et al. 2015 (arXiv:1410.8516): y₁ = x₁ + F(x₂), y₂ = x₂ + G(y₁)."""

    def build(self) -> None:
        """F and G."""
        self.F, self.G = self.net(self.second, self.first), self.net(self.first, self.second)

    def forth(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """(…, D₁), (…, D₂) to the same."""
        y1 = x1 + self.F(x2)
        return y1, x2 + self.G(y1)

    def back(self, y1: Tensor, y2: Tensor) -> tuple[Tensor, Tensor]:
        """x₂ = y₂ - G(y₁), x₁ = y₁ - F(x₂)."""
        x2 = y2 - self.G(y1)
        return y1 - self.F(x2), x2


class Glow(Coupling):
    """Kingma & Dhariwal 2018 (arXiv:1807.03039): y₁ = e(a)·x₁ + t with (a, t) = s₂(x₂), then y₂ by s₁(y₁) likewise.

    e(a) = exp(5·0.636·atan(a / 5)) keeps scales finite.
    """

    def build(self) -> None:
        """Each network gives scales and shifts for the other half."""
        self.s1, self.s2 = self.net(self.first, 2 * self.second), self.net(self.second, 2 * self.first)

    def forth(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """(…, D₁), (…, D₂) to the same."""
        scale, shift = self.s2(x2).chunk(2, -1)
        y1 = _bounded(scale) * x1 + shift
        scale, shift = self.s1(y1).chunk(2, -1)
        return y1, _bounded(scale) * x2 + shift

    def back(self, y1: Tensor, y2: Tensor) -> tuple[Tensor, Tensor]:
        """The same, undone from the last step to the first."""
        scale, shift = self.s1(y1).chunk(2, -1)
        x2 = (y2 - shift) / _bounded(scale)
        scale, shift = self.s2(x2).chunk(2, -1)
        return (y1 - shift) / _bounded(scale), x2


def _bounded(scale: Tensor) -> Tensor:
    return torch.exp(CLAMP * SLOPE * torch.atan(scale / CLAMP))


COUPLINGS: Mapping[str, type[Coupling]] = {"nice": Nice, "glow": Glow}
"""By `inv_adapter`."""
