"""One layer of a Transformer. Its sites are called by name here and in attention, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adapterzoo.core.config import StackConfig
from adapterzoo.core.run import BlockNorm, Ctx, Final, Unit
from adapterzoo.nn.acting import normed, projected
from adapterzoo.nn.activations import activation
from adapterzoo.nn.attention import Attention, Batch
from adapterzoo.nn.cache import LayerCache
from adapterzoo.nn.disentangled import DisentangledAttention
from adapterzoo.nn.dropout import dropped
from adapterzoo.nn.linear import Linear


class LayerOutput(NamedTuple):
    """A layer's output (…, D) by token, and its blocks' attention probabilities if they were asked for."""

    hidden: Tensor
    attention: Tensor | None
    cross_attention: Tensor | None


class Mlp(nn.Module):
    """W_down·act(W_up·x), with the sites up and down."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.up, self.down = Linear(config.width, config.inner), Linear(config.inner, config.width)
        self.activation, self.dropout = activation(config.activation), config.activation_dropout

    def forward(self, x: Tensor, batch: Batch, units: Mapping[str, Unit]) -> Tensor:
        """(…, D) by token to (…, D)."""
        inner = projected("mlp.up", self.up, x, batch.layout, batch.run, units, self.activation)
        inner = dropped(inner, self.dropout, self.training)
        return projected("mlp.down", self.down, inner, batch.layout, batch.run, units)


class Layer(nn.Module):
    """Self-attention, cross-attention in a decoder, feed-forward.

    A block f is LayerNorm(x + f(x)) with the norm after it, or x + f(LayerNorm(x)) with the norm before it: of
    `attn_norm` and `attn_prenorm` one is None, and so for the other blocks.
    """

    attn_prenorm: nn.LayerNorm | None
    attn_norm: nn.LayerNorm | None
    cross_prenorm: nn.LayerNorm | None
    cross_norm: nn.LayerNorm | None
    mlp_prenorm: nn.LayerNorm | None
    mlp_norm: nn.LayerNorm | None

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.attn = (Attention if config.relative is None else DisentangledAttention)("attn", config)
        self.cross = Attention("cross", config) if config.cross else None
        self.mlp = Mlp(config)
        for block in ("attn", "cross", "mlp") if config.cross else ("attn", "mlp"):
            norm = nn.LayerNorm(config.width, config.eps)
            self.add_module(f"{block}_prenorm", norm if config.pre_norm else None)
            self.add_module(f"{block}_norm", None if config.pre_norm else norm)
        self.dropout = config.dropout

    def forward(
        self, x: Tensor, batch: Batch, units: Mapping[str, Unit], cache: LayerCache | None = None
    ) -> LayerOutput:
        """The layer's output.

        Args:
            x: (…, D) by token.
            batch: what the stack was told about the batch.
            units: what is active here, by site.
            cache: the keys and values of earlier steps, to be extended.
        """
        slot = None if cache is None else cache.attn
        h, weights = self.attn(_before("attn.norm", self.attn_prenorm, x, batch, units), batch, units, slot=slot)
        x = self._join("attn.join", "attn.norm", h, x, self.attn_norm, batch, units)
        cross_weights = None
        if self.cross is not None and batch.memory is not None:
            slot = None if cache is None else cache.cross
            z = _before("cross.norm", self.cross_prenorm, x, batch, units)
            h, cross_weights = self.cross(z, batch, units, batch.memory, slot)
            x = self._join("cross.join", "cross.norm", h, x, self.cross_norm, batch, units)
        h = self.mlp(_before("mlp.norm", self.mlp_prenorm, x, batch, units), batch, units)
        x = self._join("mlp.join", "mlp.norm", h, x, self.mlp_norm, batch, units)
        unit = units.get("layer.out")
        return LayerOutput(x if unit is None else unit(x, Ctx(batch.layout, batch.run)), weights, cross_weights)

    def _join(
        self,
        name: str,
        after: str,
        h: Tensor,
        x: Tensor,
        norm: nn.LayerNorm | None,
        batch: Batch,
        units: Mapping[str, Unit],
    ) -> Tensor:
        h = dropped(h, self.dropout, self.training)
        unit = units.get(name)
        joined = h
        if unit is not None:
            through: Any = norm
            if norm is not None and after in units:
                layout, run = batch.layout, batch.run
                through = BlockNorm(lambda z: normed(after, norm, z, layout, run, units))
            joined = unit(h, Ctx(batch.layout, batch.run, residual=x, norm=through))
        if not isinstance(joined, Final):
            return normed(after, norm, x + joined, batch.layout, batch.run, units)
        if joined.where is None:
            return joined.value
        plain = normed(after, norm, x + joined.value, batch.layout, batch.run, units)
        return torch.where(joined.where, joined.value, plain)


def _before(name: str, norm: nn.LayerNorm | None, x: Tensor, batch: Batch, units: Mapping[str, Unit]) -> Tensor:
    return x if norm is None else normed(name, norm, x, batch.layout, batch.run, units)
