"""DoRA (Liu et al. 2024, arXiv:2402.09353): magnitudes and directions of a weight's rows apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.blank import computed
from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import PRESETS, WeightOf
from adapterzoo.methods.lora import LoRAUnit
from adapterzoo.methods.lora import problems as lora_problems
from adapterzoo.methods.lora_config import VARIANTS, LoRAConfig, Variant
from adapterzoo.methods.lora_files import read_plain, write_plain
from adapterzoo.methods.lora_update import Pair, Update, dtype_of


@dataclass(frozen=True, kw_only=True, eq=False)
class DoRAConfig(LoRAConfig):
    """DoRA: y = m/‖W + s·B·A‖ ⊙ (W + s·B·A)x + b, m the rows' norms, learned. See LoRAConfig for the arguments."""

    use_dora: bool = True


class DoRAUnit(LoRAUnit):
    """y + ((g - 1) ⊙ W + g ⊙ s·B·A)·dropout(x) with g = m/‖W + s·B·A‖, W the frozen weight.

    As in the paper, the norm is taken for a constant in the backward pass.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
        weight_of: gives the frozen weight, whose rows' norms are m at first.
    """

    alike = None  # the norms are of the whole weight, each adapter's own
    folds = True

    def __init__(self, config: LoRAConfig, site: Site, weight_of: WeightOf) -> None:
        super().__init__(config, site, weight_of)
        self.magnitude = magnitudes(weight_of(site)[0], dtype_of(config))

    def forward(self, y: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor:
        """(…, d_out) to (…, d_out); `ctx.weight` gives W."""
        return y + turned(self, self.magnitude, ctx).to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor, frozen: Pair) -> Pair:
        """What is W now, with (g - 1) ⊙ W₀ + g ⊙ s·B·A added; b as it was. See Update.merged for the arguments."""
        return weight + turn(frozen[0], self.delta(), self.magnitude).to(weight.dtype), bias


def magnitudes(weight: Tensor, dtype: torch.dtype | None) -> nn.Parameter:
    """The norms of a weight's rows, (d_out, 1), as a parameter."""
    kind = dtype or weight.dtype

    def norms() -> Tensor:
        found: Tensor = torch.linalg.vector_norm(weight.detach().to(kind), dim=1, keepdim=True)
        return found

    return nn.Parameter(computed((len(weight), 1), norms, kind))


def turn(weight: Tensor, delta: Tensor, magnitude: Tensor) -> Tensor:
    """What is added to W (d_out, d_in) to give the rows of W + Δ the magnitudes m: (g - 1) ⊙ W + g ⊙ Δ."""
    weight = weight.to(delta.dtype)
    norm: Tensor = torch.linalg.vector_norm((weight + delta).detach(), dim=1, keepdim=True)
    g: Tensor = magnitude / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return (g - 1) * weight + g * delta


def turned(update: Update, magnitude: Tensor, ctx: Ctx) -> Tensor:
    """What a unit adds to y: its turn times dropout(x), (…, d_out)."""
    assert ctx.x is not None and ctx.weight is not None
    change = turn(ctx.weight()[0], update.delta().to(magnitude.dtype), magnitude)
    return F.linear(update.dropped(ctx.x).to(change.dtype), change)


def problems(config: LoRAConfig) -> Iterator[str]:
    """What does not go with magnitudes."""
    if config.use_gating:
        yield "use_dora does not go with use_gating: the rows' norms would depend on the input"


def _problems(config: LoRAConfig) -> Iterator[str]:
    yield from lora_problems(config)
    yield from problems(config)


def _unit(config: LoRAConfig, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
    return DoRAUnit(config, site, weight_of)


VARIANTS.add("add+dora", Variant(_unit, problems=_problems, write=write_plain, read=read_plain))
PRESETS.add("dora", DoRAConfig())
