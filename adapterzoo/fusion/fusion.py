"""The modules of an AdapterFusion: one attention for each place, and the temperature that all share.

Shapes: n fused adapters, D width; … are the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.adapter import Adapter
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.registry import listing, unknown
from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.fusion.config import AdapterFusionConfig
from adapterzoo.nn.transformer import Transformer

WHOLE = ("kv", "tokens")
"""Kinds of sites where adapters add positions: there is no output at each token to weigh."""


class Temperature(nn.Module):
    """τ = max(50 − 0.05·steps, 1). A step is a forward in training mode.

    Attributes:
        steps: () whole number. It is a tensor, so that a compiled network is not compiled again when it grows.
    """

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def once(self) -> Tensor:
        """τ of a forward, ()."""
        now = (50 - 0.05 * self.steps).clamp(min=1)
        if self.training:
            self.steps += 1
        return now

    def fall(self) -> None:
        """Let it be 1, as it is at the end of a training."""
        self.steps.fill_(1000)


class FusionUnit(nn.Module):
    """The attention at one place.

    Args:
        config: what it has.
        width: D.
        dropout: on the scores, in training.
        temperature: what all places share; None where it is 1. It belongs to the fusion, not to this unit.
    """

    temperature: Temperature | None

    def __init__(
        self, config: AdapterFusionConfig, width: int, dropout: float, temperature: Temperature | None
    ) -> None:
        super().__init__()
        self.config, self.dropout = config, dropout
        self.__dict__["temperature"] = temperature  # past nn.Module, which would register it again at every place
        self.query = nn.Linear(width, width) if config.query else None
        self.key = nn.Linear(width, width) if config.key else None
        self.value = nn.Linear(width, width, bias=False) if config.value else None
        with torch.no_grad():
            self._init()

    def _init(self) -> None:
        for linear in (self.query, self.key, self.value):
            if linear is not None:
                nn.init.normal_(linear.weight, std=0.02)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)
        if self.value is not None and self.config.value_initialized:
            nn.init.constant_(self.value.weight, 1e-6).fill_diagonal_(1.0)

    def forward(
        self, query: Tensor, updates: Sequence[Tensor], residual: Tensor, ctx: Ctx, acting: Tensor | None = None
    ) -> Tensor:
        """The fused value (…, D).

        Args:
            query: (…, D).
            updates: what each adapter adds, (…, D).
            residual: what that is added to, (…, D).
            ctx: of the place.
            acting: (…, n), False where an adapter does not act; None where all do.
        """
        outer, like = residual.dtype, next(self.parameters(), residual).dtype
        query, residual = query.to(like), residual.to(like)
        known = torch.stack([update.to(like) for update in updates], -2)
        if self.config.residual_before:
            known = known + residual.unsqueeze(-2)
        weights = self._weights(query, known, ctx, acting)
        out = (weights.unsqueeze(-2) @ known).squeeze(-2)
        if self.value is not None:
            out = self.value(out)  # once for their sum, which is the same as for each
        return (out if self.config.residual_before else out + residual).to(outer)

    def _weights(self, query: Tensor, known: Tensor, ctx: Ctx, acting: Tensor | None) -> Tensor:
        """p, (…, n)."""
        query = query if self.query is None else self.query(query)
        if self.key is None:
            scores = (known @ query.unsqueeze(-1)).squeeze(-1)
        else:  # q·(W_k·u + b) = (W_kᵀ·q)·u + q·b: one product with W_k in place of n
            turned = query @ self.key.weight
            scores = (known @ turned.unsqueeze(-1)).squeeze(-1) + (query @ self.key.bias).unsqueeze(-1)
        scores = F.dropout(scores, self.dropout, self.training)
        if self.temperature is not None:
            scores = scores / ctx.once[self.temperature]
        if acting is not None:
            scores = scores.masked_fill(~acting, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        ctx.note("fusion", weights, by_token=True)
        return weights


class Fusion(nn.Module):
    """The attention over some adapters, wherever they act.

    Args:
        config: what it has.
        names: the adapters that it was made for.
        sites: the places.
        network: what the adapters act on. It is looked at, not changed.
    """

    def __init__(
        self, config: AdapterFusionConfig, names: Sequence[str], sites: Sequence[Site], network: Transformer
    ) -> None:
        super().__init__()
        self.config, self.names, self.sites = config, tuple(names), tuple(sites)
        shared = {"temperature": Temperature()} if config.temperature else {}
        self.shared, self.units = nn.ModuleDict(shared), nn.ModuleDict()
        stacks = network.config.stacks()
        for site in sites:
            asked = config.dropout_prob
            dropout = stacks[site.stack].attention_dropout if asked is None else asked
            self.units[site.slug] = FusionUnit(config, site.d_out, dropout, shared.get("temperature"))
        like = network.token.weight
        self.to(device=like.device, dtype=like.dtype)

    def unit(self, site: Site) -> FusionUnit | None:
        """The attention at a site; None where there is none."""
        if site.slug not in self.units:
            return None
        unit = self.units[site.slug]
        assert isinstance(unit, FusionUnit)
        return unit

    def distance(self) -> Tensor | None:
        """Σ‖I − W_v‖² over the places where W_v is trained; None where it is nowhere."""
        units = (unit for unit in self.units.values() if isinstance(unit, FusionUnit))
        values = [unit.value.weight for unit in units if unit.value is not None and unit.value.weight.requires_grad]
        if not values:
            return None
        apart = [(torch.eye(w.size(0), device=w.device, dtype=w.dtype) - w).pow(2).sum() for w in values]
        return sum(apart[1:], apart[0])


def sites_for(names: Sequence[str], adapters: Mapping[str, Adapter], network: NetworkConfig) -> list[Site]:
    """The places of a fusion: wherever one of the adapters has an output for each token.

    Raises:
        ValueError: an adapter does not exist, or they have such outputs nowhere.
    """
    lost = [name for name in names if name not in adapters]
    if lost:
        raise ValueError("; ".join(unknown("adapter named", name, adapters) for name in lost))
    there = [site for site in sites_of(network) if any(adapters[name].module_at(site) is not None for name in names)]
    found = [site for site in there if site.kind not in WHOLE]
    if not found:
        raise ValueError(
            f"{listing(names)} act at {listing({site.name for site in there})}, where they add positions: there is no "
            "output at each token that a fusion could weigh"
        )
    return found


def freeze(fusions: Iterable[Fusion]) -> None:
    """Train none of them."""
    for fusion in fusions:
        fusion.requires_grad_(False)
