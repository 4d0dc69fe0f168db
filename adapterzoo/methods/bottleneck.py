"""Bottleneck adapters: Houlsby et al. 2019, Pfeiffer et al. 2020, parallel ones (He et al. 2021), AdapterPlus."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.run import Branch, Ctx, Final
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, WeightOf, seeded
from adapterzoo.methods.bottleneck_config import FLAGS, BnFields
from adapterzoo.methods.coupling import COUPLINGS
from adapterzoo.methods.phm import PHMLayer, SharedPHM
from adapterzoo.nn.acting import may_write
from adapterzoo.nn.activations import activation
from adapterzoo.nn.dropout import dropped
from adapterzoo.nn.each import across, linear
from adapterzoo.nn.linear import plus


class BottleneckUnit(nn.Module):
    """down, activation, up, and around them what the config asks for: norms, scaling, gate, residual.

    Args:
        config: the numbers.
        site: the place, for the width.
        shared: what layers of PHM share.
    """

    def __init__(self, config: BnFields, site: Site, shared: SharedPHM | None = None) -> None:
        super().__init__()
        self.config, width = config, site.d_out
        inner = config.inner_width(site)
        self.norm_before = nn.LayerNorm(width) if config.ln_before else None
        self.down = _matrix(config, width, inner, "down", shared)
        self.up = _matrix(config, inner, width, "up", shared)
        self.norm_after = nn.LayerNorm(width) if config.ln_after else None
        self.gate = nn.Linear(width, 1) if config.use_gating else None
        if isinstance(config.scaling, str):
            self.scaling = nn.Parameter(torch.ones(1 if config.scaling == "learned" else width))
        self.activation = activation(config.non_linearity)
        with seeded(config.init_weights_seed):
            for place in ("down", "up", "gate"):
                linear = getattr(self, place)
                if isinstance(linear, nn.Linear):
                    _initialise(linear, config.init_weights, place)

    @property
    def reads_row(self) -> bool:
        """Whether a token's value depends on the row's other tokens: a gate is their mean."""
        return self.gate is not None

    @property
    def alike(self) -> Hashable:
        """What units agree in that can act together. They have no layers beside their two."""
        config, down = self.config, self.down
        layers = (self.norm_before, self.norm_after, self.gate)
        if not isinstance(down, nn.Linear) or config.stochastic_depth or any(layer is not None for layer in layers):
            return None
        place = (config.original_ln_before, config.original_ln_after, config.residual_before_ln)
        form = (config.non_linearity, config.scaling, config.dropout)
        return *place, *form, down.weight.shape, down.weight.dtype

    def tensors(self, ctx: Ctx) -> tuple[Tensor, ...]:
        """W_down, W_up and their biases, and s if it is learned."""
        down, up = self.down, self.up
        assert isinstance(down, nn.Linear) and isinstance(up, nn.Linear)
        learned = (self.scaling,) if isinstance(self.config.scaling, str) else ()
        return down.weight, down.bias, up.weight, up.bias, *learned

    def _up(self, z: Tensor, *stacks: Tensor) -> Tensor:
        if not stacks:
            u: Tensor = self.up(self.activation(self.down(z)))
            return u
        down, down_bias, up, up_bias = stacks[:4]
        return linear(self.activation(linear(z, down, down_bias)), up, up_bias)

    def update(self, z: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor:
        """s·W_up·f(W_down·z): what the adapter adds, before dropout and gate; (…, D) to (…, D)."""
        config = self.config
        if self.norm_before is not None:
            z = self.norm_before(z)
        u: Tensor = self._up(z, *stacks)
        if config.stochastic_depth and self.training and not config.is_parallel:
            keep = 1 - config.stochastic_depth
            rows = ctx.layout.mean(u[..., :1])  # for its shape (B, 1)
            u = u * ctx.layout.spread(torch.full_like(rows, keep).bernoulli() / keep)
        if isinstance(config.scaling, str):
            return u * across(stacks[4] if stacks else self.scaling)
        return u if config.scaling == 1.0 else u * config.scaling

    def _dropped_and_gated(self, u: Tensor, z: Tensor, ctx: Ctx) -> Tensor:
        u = dropped(u, self.config.dropout, self.training)
        if self.gate is None:
            return u
        gate = ctx.layout.mean(torch.sigmoid(self.gate(z)))
        ctx.note("gate", gate)
        return u * ctx.layout.spread(gate)

    def finish(self, h: Tensor) -> Tensor | Final:
        """The join's value: plain where residual and LayerNorm follow, Final where they do not."""
        return h if self.config.original_ln_after else Final(h)


class SequentialUnit(BottleneckUnit):
    """r + dropout(s·W_up·f(W_down·z)): z is h, or LayerNorm(h + x) with `original_ln_before`."""

    def forward(self, h: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor | Final:
        """(…, D) to (…, D); `ctx.residual` is x, `ctx.norm` the block's LayerNorm (None in a pre-norm network).

        With `stacks`, the weights of several: see AdapterConfig.unit.
        """
        z, residual = self._read(h, ctx)
        out = self._dropped_and_gated(self.update(z, ctx, *stacks), z, ctx)
        if self.norm_after is None:
            return self.finish(plus(out, residual, may_write(self.up)))
        if self.config.adapter_residual_before_ln:
            return self.finish(self.norm_after(out + residual))
        return self.finish(self.norm_after(out) + residual)

    def _read(self, h: Tensor, ctx: Ctx) -> tuple[Tensor, Tensor]:
        """z and r."""
        config, residual, z = self.config, h, h
        if config.original_ln_before:
            assert ctx.residual is not None
            z = h + ctx.residual
            if config.residual_before_ln == "post_add":
                residual = z
            if ctx.norm is not None:
                z = ctx.norm(z)
        return z, z if config.residual_before_ln is False else residual

    def branch(self, h: Tensor, ctx: Ctx) -> Branch:
        """What is fused: s·W_up·f(W_down·z), without dropout, gate and `ln_after`."""
        z, residual = self._read(h, ctx)
        return Branch(lambda: self.update(z, ctx), residual, h, z, self.finish)


class ParallelUnit(BottleneckUnit):
    """h + dropout(s·W_up·f(W_down·x)), x the block's input."""

    def forward(self, h: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor | Final:
        """(…, D) to (…, D); `ctx.residual` is x. With `stacks`, the weights of several: see AdapterConfig.unit."""
        assert ctx.residual is not None
        out = self._dropped_and_gated(self.update(ctx.residual, ctx, *stacks), ctx.residual, ctx)
        if self.norm_after is None:
            return self.finish(plus(out, h, may_write(self.up)))
        return self.finish(self.norm_after(out) + h)

    def branch(self, h: Tensor, ctx: Ctx) -> Branch:
        """What is fused: s·W_up·f(W_down·x), without dropout, gate and `ln_after`; it is added to h."""
        x = ctx.residual
        assert x is not None
        return Branch(lambda: self.update(x, ctx), h, x, x, self.finish)


def _matrix(config: BnFields, d_in: int, d_out: int, place: str, shared: SharedPHM | None) -> nn.Module:
    """One of the two matrices with its bias; `place` is "down" or "up"."""
    return PHMLayer(config, d_in, d_out, place, shared) if config.phm_layer else nn.Linear(d_in, d_out)


def _initialise(linear: nn.Linear, how: str, place: str) -> None:
    nn.init.zeros_(linear.bias)
    if how == "bert" or place == "gate":
        nn.init.normal_(linear.weight, std=0.02)
    elif how == "houlsby":
        nn.init.trunc_normal_(linear.weight, std=0.01, a=-0.02, b=0.02)
    elif place == "down":
        nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5))
    else:
        nn.init.zeros_(linear.weight)


@METHODS.register("bottleneck")
@dataclass(frozen=True, kw_only=True, eq=False)
class BnConfig(BnFields):
    """Any bottleneck adapter; see BnFields for the arguments, and the classes below for the published ones."""

    def shared(self, sites: list[Site], network: NetworkConfig) -> dict[str, nn.Module]:
        """What layers of PHM share, if they do."""
        joins = [site for site in sites if site.name in FLAGS]
        shares = self.phm_layer and (self.shared_phm_rule or self.shared_W_phm) and joins
        return {"shared": SharedPHM(self, joins)} if shares else {}

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """The adapter after one block, or the invertible one on the embeddings."""
        if site.name == "embed":
            assert self.inv_adapter is not None
            return COUPLINGS[self.inv_adapter](self, site)
        common = shared.get("shared")
        assert common is None or isinstance(common, SharedPHM)
        return (ParallelUnit if self.is_parallel else SequentialUnit)(self, site, common)


@dataclass(frozen=True, kw_only=True, eq=False)
class SeqBnConfig(BnConfig):
    """Pfeiffer et al. 2020 (arXiv:2005.00052): LN(W_up·f(W_down·LN(h+x)) + h + x), after the feed-forward block."""

    original_ln_before: bool = True
    mh_adapter: bool = False
    output_adapter: bool = True
    non_linearity: str = "relu"
    reduction_factor: float | Mapping[str, float] = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class DoubleSeqBnConfig(BnConfig):
    """Houlsby et al. 2019 (arXiv:1902.00751): LN(W_up·f(W_down·h) + h + x), after attention and feed-forward."""

    original_ln_before: bool = False
    mh_adapter: bool = True
    output_adapter: bool = True
    non_linearity: str = "swish"
    reduction_factor: float | Mapping[str, float] = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class ParBnConfig(BnConfig):
    """He et al. 2021 (arXiv:2110.04366): LN(s·W_up·f(W_down·x) + h + x), beside the feed-forward block."""

    mh_adapter: bool = False
    output_adapter: bool = True
    non_linearity: str = "relu"
    reduction_factor: float | Mapping[str, float] = 2
    init_weights: str = "mam_adapter"
    is_parallel: bool = True
    scaling: float | str = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterPlusConfig(BnConfig):
    """Steitz & Roth 2024 (arXiv:2406.06820): LN(h+x) + s⊙W_up·f(W_down·LN(h+x)), no LayerNorm after it."""

    original_ln_before: bool = True
    original_ln_after: bool = False
    residual_before_ln: bool | str = False
    stochastic_depth: float = 0.1
    init_weights: str = "houlsby"
    scaling: float | str = "channel"
    mh_adapter: bool = False
    output_adapter: bool = True
    reduction_factor: float | Mapping[str, float] = 96
    non_linearity: str = "gelu"


for _names, _preset in {
    ("seq_bn", "pfeiffer"): SeqBnConfig(),
    ("double_seq_bn", "houlsby"): DoubleSeqBnConfig(),
    ("par_bn", "parallel"): ParBnConfig(),
    ("scaled_par_bn", "scaled_parallel"): ParBnConfig(scaling="learned"),
}.items():
    for _name in _names:
        PRESETS.add(_name, _preset)
