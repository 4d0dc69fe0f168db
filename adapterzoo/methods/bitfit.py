"""BitFit (Ben Zaken et al. 2021, arXiv:2106.10199): y + δ at linear sites and norms, as if biases were trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf
from adapterzoo.methods.patterns import matches


@METHODS.register("bitfit")
@dataclass(frozen=True, kw_only=True, eq=False)
class BitFitConfig(AdapterConfig):
    """BitFit: y + δ, with δ (d_out) added to the bias of linear maps and LayerNorms; nothing changes at first.

    Args:
        sites: which of these, by name or path, as patterns: "*.norm", ["attn.q", "decoder.*"].
        leave_out: layers without.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "bitfit"
    hub_infix: ClassVar[str] = "bitfits"

    sites: str | tuple[str, ...] = "*"
    leave_out: tuple[int, ...] = ()

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The linear and norm sites that the patterns mean."""
        known = site.kind in ("linear", "norm") and site.layer not in self.leave_out
        return known and matches(self.sites, site)

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """δ for one site."""
        return BiasUnit(site)


class BiasUnit(nn.Module):
    """y + δ.

    Args:
        site: the place, for d_out.
    """

    any_dtype = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(site.d_out))

    def forward(self, y: Tensor, ctx: Ctx) -> Tensor:
        """(…, d_out) to (…, d_out)."""
        return y.add_(self.bias) if ctx.own else y + self.bias.to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor, frozen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The weight (or a LayerNorm's gain) as it is, and b + δ."""
        return weight, bias + self.bias


PRESETS.add("bitfit", BitFitConfig())
