"""VeRA (Kopiczko et al. 2024, arXiv:2310.11454): random matrices that all layers share, and learned vectors; DvoRA."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import PRESETS, WeightOf, seeded
from adapterzoo.methods.dora import magnitudes, turn, turned
from adapterzoo.methods.dora import problems as dora_problems
from adapterzoo.methods.lora import INITS
from adapterzoo.methods.lora_config import VARIANTS, LoRAConfig, Variant
from adapterzoo.methods.lora_files import read_vera, write_vera
from adapterzoo.methods.lora_update import Pair, Update, dtype_of
from adapterzoo.nn.each import across, linear


@dataclass(frozen=True, kw_only=True, eq=False)
class VeraConfig(LoRAConfig):
    """VeRA: y = Wx + b + (α/r)·v_b ⊙ B·(v_d ⊙ A·x), A and B frozen. See LoRAConfig for the arguments."""

    vera_d: float | None = 0.1
    vera_b: float | None = 0.0
    init_weights: str = "vera"


@dataclass(frozen=True, kw_only=True, eq=False)
class DvoRAConfig(VeraConfig):
    """DvoRA: VeRA's update in DoRA's place of B·A. See LoRAConfig for the arguments."""

    use_dora: bool = True


class VeraMatrices(nn.Module):
    """A (r, d_in) and B (d_out, r) for the widest of the sites; others use the first columns and rows.

    They are buffers, for they are never trained.

    Args:
        config: the numbers.
        sites: where they are for.
    """

    lora_A: Tensor
    lora_B: Tensor

    def __init__(self, config: LoRAConfig, sites: list[Site]) -> None:
        super().__init__()
        dtype, widest = dtype_of(config), (max(site.d_in for site in sites), max(site.d_out for site in sites))
        self.register_buffer("lora_A", torch.empty(config.r, widest[0], dtype=dtype))
        self.register_buffer("lora_B", torch.empty(widest[1], config.r, dtype=dtype))
        with seeded(config.init_weights_seed):
            INITS[config.init_weights](self.lora_A, self.lora_B, False)

    def part_of(self, larger: VeraMatrices) -> dict[str, Tensor]:
        """The state for fewer sites out of that for more."""
        return {"lora_A": larger.lora_A[:, : self.lora_A.size(1)], "lora_B": larger.lora_B[: self.lora_B.size(0)]}


class VeraUnit(Update):
    """y + s·v_b ⊙ B·(v_d ⊙ A·dropout(x)). AdapterHub's files hold v_d and v_b as diagonal matrices.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
        matrices: A and B; they belong to the adapter, not to this unit.
    """

    matrices: VeraMatrices

    def __init__(self, config: LoRAConfig, site: Site, matrices: VeraMatrices) -> None:
        super().__init__(config, site)
        self.__dict__["matrices"] = matrices  # past nn.Module, which would register it again in every layer
        self.d_in, dtype = site.d_in, dtype_of(config)
        self.vera_D = nn.Parameter(torch.full((config.r,), config.vera_d or 0.0, dtype=dtype))
        self.vera_B = nn.Parameter(torch.full((site.d_out,), config.vera_b or 0.0, dtype=dtype))

    def _pair(self) -> Pair:
        return self.matrices.lora_A[:, : self.d_in], self.matrices.lora_B[: len(self.vera_B)]

    @property
    def alike(self) -> Hashable:
        """What units agree in that can act together."""
        return None if self.gate is not None else (self.scale, self.dropout, self.vera_D.shape, self.vera_D.dtype)

    def tensors(self, ctx: Ctx) -> tuple[Tensor, ...]:
        """A, B, v_d and v_b."""
        return *self._pair(), self.vera_D, self.vera_B

    def times(self, x: Tensor, scale: float | Tensor, *stacks: Tensor) -> Tensor:
        """s·v_b ⊙ B·(v_d ⊙ A·x): (…, d_in) to (…, d_out)."""
        a, b, inner, outer = stacks or (*self._pair(), self.vera_D, self.vera_B)
        return linear(self.lowered(x, a) * across(inner) * scale, b) * across(outer)

    def matrix(self) -> Tensor:
        """diag(v_b)·B·diag(v_d)·A, (d_out, d_in)."""
        a, b = self._pair()
        return (self.vera_B[:, None] * b * self.vera_D) @ a


class DvoRAUnit(VeraUnit):
    """DoRA with VeRA's update: y + ((g - 1) ⊙ W + g ⊙ s·Δ)·dropout(x) with g = m/‖W + s·Δ‖.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
        matrices: A and B; they belong to the adapter, not to this unit.
        weight_of: gives the frozen weight, whose rows' norms are m at first.
    """

    alike = None  # the norms are of the whole weight, each adapter's own
    folds = True

    def __init__(self, config: LoRAConfig, site: Site, matrices: VeraMatrices, weight_of: WeightOf) -> None:
        super().__init__(config, site, matrices)
        self.magnitude = magnitudes(weight_of(site)[0], dtype_of(config))

    def forward(self, y: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor:
        """(…, d_out) to (…, d_out); `ctx.weight` gives W."""
        return y + turned(self, self.magnitude, ctx).to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor, frozen: Pair) -> Pair:
        """What is W now, with (g - 1) ⊙ W₀ + g ⊙ s·Δ added; b as it was. See Update.merged for the arguments."""
        return weight + turn(frozen[0], self.delta(), self.magnitude).to(weight.dtype), bias


def _problems(config: LoRAConfig) -> Iterator[str]:
    if config.rank_pattern:
        yield f"VeRA's layers share their matrices and so their r: there is no rank_pattern={config.rank_pattern!r}"
    if config.init_weights not in INITS or config.init_weights == "orthogonal":
        yield f"VeRA's matrices are shared and frozen, so that init_weights cannot be {config.init_weights!r}"


def _dvora_problems(config: LoRAConfig) -> Iterator[str]:
    yield from _problems(config)
    yield from dora_problems(config)


def _matrices(config: LoRAConfig, sites: list[Site]) -> dict[str, nn.Module]:
    return {"shared": VeraMatrices(config, sites)}


def _of(shared: Mapping[str, nn.Module]) -> VeraMatrices:
    return next(module for module in shared.values() if isinstance(module, VeraMatrices))


def _unit(config: LoRAConfig, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
    return VeraUnit(config, site, _of(shared))


def _dvora_unit(config: LoRAConfig, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
    return DvoRAUnit(config, site, _of(shared), weight_of)


for _name, _build, _wrong in (("vera", _unit, _problems), ("vera+dora", _dvora_unit, _dvora_problems)):
    VARIANTS.add(f"add+{_name}", Variant(_build, problems=_wrong, shared=_matrices, write=write_vera, read=read_vera))
PRESETS.add("vera", VeraConfig())
PRESETS.add("dvora", DvoRAConfig())
