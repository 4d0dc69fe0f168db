"""(IA)³ (Liu et al. 2022, arXiv:2205.05638): y ⊙ l at linear sites, or W(l ⊙ x) + b."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import PRESETS, WeightOf, seeded
from adapterzoo.methods.lora_config import VARIANTS, LoRAConfig, Variant
from adapterzoo.methods.lora_update import Gate, Pair, dtype_of, refuse_gate
from adapterzoo.methods.patterns import matches
from adapterzoo.nn.each import across


@dataclass(frozen=True, kw_only=True, eq=False)
class IA3Config(LoRAConfig):
    """(IA)³: k ⊙ l_k, v ⊙ l_v, and the feed-forward block's inner values ⊙ l before the activation.

    The paper scales after the activation; AdapterHub's files mean before it. What the paper has is, with the second
    matrix's input scaled: `IA3Config(sites=["*.k", "*.v", "mlp.down"], input_sites="mlp.down")`. See LoRAConfig for
    the arguments.
    """

    intermediate_lora: bool = True
    r: int = 1
    alpha: float = 1
    attn_matrices: tuple[str, ...] = ("k", "v")
    composition_mode: str = "scale"
    init_weights: str = "ia3"


class IA3Unit(nn.Module):
    """y ⊙ s·l; s is α or the gate. AdapterHub's files call l, (d_out, 1), lora_B.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
        width: how many factors there are; d_out if None.
    """

    any_dtype = True

    def __init__(self, config: LoRAConfig, site: Site, width: int | None = None) -> None:
        super().__init__()
        self.scale, self.gate = config.scale(site), Gate(config, site) if config.use_gating else None
        self.lora_B = nn.Parameter(torch.empty(width or site.d_out, 1, dtype=dtype_of(config)))
        with seeded(config.init_weights_seed):
            INITS[config.init_weights](self.lora_B)

    @property
    def reads_row(self) -> bool:
        """Whether a token's value depends on the row's other tokens: a gate is their mean."""
        return self.gate is not None

    @property
    def alike(self) -> Hashable:
        """What units agree in that can act together."""
        return None if self.gate is not None else (self.scale, self.lora_B.dtype)

    def tensors(self, ctx: Ctx) -> tuple[Tensor, ...]:
        """l, (d_out)."""
        return (self.lora_B[:, 0],)

    def forward(self, y: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor:
        """(…, d_out) to (…, d_out). With `stacks`, the weights of several: see AdapterConfig.unit."""
        (factors,) = stacks or self.tensors(ctx)
        if self.gate is not None:
            return y * across(factors).to(y.dtype) * self.gate.at_tokens(ctx).to(y.dtype)
        scale = across(factors if self.scale == 1 else factors * self.scale).to(y.dtype)
        return y.mul_(scale) if ctx.own else y * scale

    def merged(self, weight: Tensor, bias: Tensor, frozen: Pair) -> Pair:
        """The rows of W and of b times s·l.

        Args:
            weight: W (d_out, d_in), as it is now.
            bias: b (d_out), as it is now.
            frozen: what both were before anything was merged.

        Raises:
            ValueError: there is a gate.
        """
        refuse_gate(self.gate)
        scale = (self.scale * self.lora_B).to(weight.dtype)
        return weight * scale, bias * scale[:, 0]


class IA3InputUnit(IA3Unit):
    """y + W((s·l - 1) ⊙ x), which is W(s·l ⊙ x) + b where nothing else acts; W is frozen, and l (d_in, 1).

    Args:
        config: the numbers.
        site: the place, for the width.
    """

    def __init__(self, config: LoRAConfig, site: Site) -> None:
        super().__init__(config, site, site.d_in)
        self.folds = self.gate is None

    def forward(self, y: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor:
        """(…, d_out) to (…, d_out); `ctx.weight` gives W. For `stacks` see IA3Unit."""
        assert ctx.x is not None and ctx.weight is not None
        (factors,) = stacks or self.tensors(ctx)
        scale = self.scale if self.gate is None else self.gate.at_tokens(ctx)
        weight, x = ctx.weight()[0], ctx.x
        return y + F.linear((x * (scale * across(factors) - 1)).to(weight.dtype), weight).to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor, frozen: Pair) -> Pair:
        """What is W now, with W₀ ⊙ (s·l - 1) added, by columns; b as it was. See IA3Unit.merged for the arguments."""
        refuse_gate(self.gate)
        return weight + frozen[0] * (self.scale * self.lora_B[:, 0] - 1).to(weight.dtype), bias


INITS: Mapping[str, Callable[[Tensor], object]] = {
    "lora": nn.init.zeros_,
    "bert": partial(nn.init.normal_, std=0.02),
    "ia3": nn.init.ones_,
}
"""What fills l."""


def _problems(config: LoRAConfig) -> Iterator[str]:
    stands_for = "composition_mode='scale', which is (IA)³,"
    if config.r != 1 or config.rank_pattern:
        yield f"{stands_for} needs r=1 everywhere, not {config.rank_pattern or config.r}"
    if config.dropout:
        yield f"{stands_for} has no dropout, not {config.dropout}"
    if config.init_weights not in INITS:
        yield f"{stands_for} needs init_weights to be one of {', '.join(map(repr, INITS))}, not {config.init_weights!r}"


def _unit(config: LoRAConfig, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
    at_input = config.input_sites is not None and matches(config.input_sites, site)
    return IA3InputUnit(config, site) if at_input else IA3Unit(config, site)


VARIANTS.add("scale", Variant(_unit, problems=_problems))
PRESETS.add("ia3", IA3Config())
