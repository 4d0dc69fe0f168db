"""LayerNorm tuning (Zhao et al. 2023, arXiv:2312.11420): gains and biases of LayerNorms are what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf
from adapterzoo.methods.patterns import matches


@METHODS.register("ln_tuning")
@dataclass(frozen=True, kw_only=True, eq=False)
class LNTuningConfig(AdapterConfig):
    """LayerNorm tuning: y + n(x)·δγ + δβ, with n(x) = (x - E[x]) / √(Var[x] + ε); nothing changes at first.

    Args:
        sites: which LayerNorms, by name or path, as patterns: "mlp.norm", ["embed.norm", "decoder.*"].
        leave_out: layers without.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "ln_tuning"
    hub_infix: ClassVar[str] = "ln_tunings"

    sites: str | tuple[str, ...] = "*"
    leave_out: tuple[int, ...] = ()

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The norm sites that the patterns mean."""
        return site.kind == "norm" and site.layer not in self.leave_out and matches(self.sites, site)

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """δγ and δβ for one LayerNorm."""
        return NormUnit(site)


class NormUnit(nn.Module):
    """y + n(x)·δγ + δβ.

    Args:
        site: the place, for the width.
    """

    any_dtype = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(site.d_out))
        self.bias = nn.Parameter(torch.zeros(site.d_out))

    def forward(self, y: Tensor, ctx: Ctx) -> Tensor:
        """(…, D) to (…, D); `ctx.x` is the LayerNorm's input, `ctx.norm` the LayerNorm."""
        assert ctx.x is not None and isinstance(ctx.norm, nn.LayerNorm)
        normed = F.layer_norm(ctx.x, ctx.norm.normalized_shape, eps=ctx.norm.eps)
        return y + (normed * self.weight + self.bias).to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor, frozen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The gain γ + δγ and the bias β + δβ."""
        return weight + self.weight, bias + self.bias


PRESETS.add("ln_tuning", LNTuningConfig())
