"""Strategies for LoRA that combine the updates s·B·A themselves, in place of their factors.

Shapes: r rank, A (r, d_in), B (d_out, r).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adapterzoo.adapter import Adapter
from adapterzoo.combining.alike import A, B, check_alike
from adapterzoo.combining.mixing import Mix
from adapterzoo.combining.options import Options
from adapterzoo.core.registry import listing
from adapterzoo.methods.base import AdapterConfig, seeded
from adapterzoo.nn.transformer import Transformer

SIZES = ("r", "alpha", "rank_pattern", "alpha_pattern", "use_rslora")
"""Fields that say how large a LoRA is and how it is scaled: these may differ, and the new one has its own."""


class Factors(NamedTuple):
    """An update as two matrices, its scale in the second.

    Attributes:
        a: (r, d_in).
        b: (d_out, r).
    """

    a: Tensor
    b: Tensor

    @property
    def update(self) -> Tensor:
        """B·A, (d_out, d_in)."""
        return self.b @ self.a

    def padded(self, rank: int) -> Factors:
        """The same update with more, empty, ranks."""
        more = rank - len(self.a)
        pad = nn.functional.pad
        return Factors(pad(self.a, (0, 0, 0, more)), pad(self.b, (0, more)))


Combine = Callable[[Sequence[Factors], Sequence[float], int, Options], Factors]


def concatenated(parts: Sequence[Factors], weights: Sequence[float], rank: int, options: Options) -> Factors:
    """A = [w₁A₁; w₂A₂; …], B = [B₁, B₂, …]: Σ wᵢBᵢAᵢ exactly, of the sum of the ranks."""
    several = [part.a * weight for part, weight in zip(parts, weights, strict=True)]
    return Factors(torch.cat(several), torch.cat([part.b for part in parts], 1))


def decomposed(mix: Mix) -> Combine:
    """The nearest update of a rank to a mixture of updates: U·S·Vᵀ, of which B takes U·S and A takes Vᵀ.

    Args:
        mix: what makes one update of several.
    """

    def combine(parts: Sequence[Factors], weights: Sequence[float], rank: int, options: Options) -> Factors:
        update = mix([part.update for part in parts], weights, options)
        u, s, v = torch.linalg.svd(update, full_matrices=False)
        found = Factors(v[:rank], u[:, :rank] * s[:rank])
        if options.svd_clamp is None:
            return found
        most = torch.quantile(torch.cat([found.b.flatten(), found.a.flatten()]), options.svd_clamp)
        return Factors(*(factor.clamp(-most, most) for factor in found))

    return combine


@dataclass(frozen=True)
class Factored:
    """An adapter of updates made of those of others, whose ranks and scales may differ. Its own scale is 1.

    Attributes:
        combine: what makes one update of several.
        needs, takes: options.
        ranks_add: whether its rank is the sum of the others' ranks; else the largest of them, or `svd_rank`.
    """

    combine: Combine
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    ranks_add: bool = False

    def __call__(
        self, parts: Mapping[str, Adapter], weights: Sequence[float], options: Options, network: Transformer
    ) -> Adapter:
        """The new adapter.

        Raises:
            ValueError: the adapters are no LoRAs, or their configs differ in more than ranks and scales.
        """
        check_alike({name: adapter.config for name, adapter in parts.items()}, SIZES)
        several = [_factors(name, adapter) for name, adapter in parts.items()]
        first = next(iter(parts.values()))
        largest = [max(len(factors.a) for factors in own.values()) for own in several]
        rank = options.svd_rank or (sum(largest) if self.ranks_add else max(largest))
        with seeded(0):
            made = Adapter(_resized(first.config, rank), network)
        like = next(first.parameters())
        made.to(device=like.device, dtype=like.dtype)
        for slug in several[0]:
            found = self.combine([own[slug] for own in several], weights, rank, options)
            _fill(made.units[slug], found.padded(rank))
        return made


def _factors(name: str, adapter: Adapter) -> dict[str, Factors]:
    """An adapter's updates by site, in no less than float32."""
    found, units = {}, dict[str, Any](adapter.units.items())
    for slug, unit in units.items():
        own = dict(unit.state_dict())
        if set(own) != {A, B} or own[B].dim() != 2:
            more = listing(set(own) - {A, B})
            raise ValueError(f"LoRA alone can be combined so, but {name!r} has at {slug.replace('-', '.')} {more}")
        wide = torch.promote_types(own[A].dtype, torch.float32)
        found[slug] = Factors(own[A].to(wide), own[B].to(wide) * float(unit.scale))
    return found


def _resized(config: AdapterConfig, rank: int) -> AdapterConfig:
    """The config of one rank everywhere, and of scale 1."""
    plain = {"r": rank, "alpha": rank, "rank_pattern": None, "alpha_pattern": None, "use_rslora": False}
    return config.replace(**{key: value for key, value in plain.items() if key in config})


def _fill(unit: nn.Module, factors: Factors) -> None:
    with torch.no_grad():
        unit.get_parameter(A).copy_(factors.a)
        unit.get_parameter(B).copy_(factors.b)
