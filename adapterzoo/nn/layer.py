"""One layer of a Transformer. Its sites are called by name here and in attention, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.config import NetworkConfig, StackConfig
from adapterzoo.core.sites import Ctx, Final, Unit
from adapterzoo.nn.activations import activation
from adapterzoo.nn.attention import Attention, Batch, Linear, adapt


class Mlp(nn.Module):
    """W_down·act(W_up·x), with the sites up and down."""

    def __init__(self, config: NetworkConfig, inner: int) -> None:
        super().__init__()
        self.up, self.down = Linear(config.width, inner), Linear(inner, config.width)
        self.activation, self.dropout = activation(config.activation), config.activation_dropout

    def forward(self, x: Tensor, batch: Batch, units: Mapping[str, Unit]) -> Tensor:
        """(…, D) by token to (…, D)."""
        inner = self.activation(adapt("mlp.up", self.up(x), x, self.up.view, batch.layout, batch, units))
        inner = F.dropout(inner, self.dropout, self.training)
        return adapt("mlp.down", self.down(inner), inner, self.down.view, batch.layout, batch, units)


class Layer(nn.Module):
    """Self-attention, cross-attention in a decoder, feed-forward; after each: LayerNorm(x + h)."""

    def __init__(self, config: NetworkConfig, stack: StackConfig) -> None:
        super().__init__()
        width, eps, dropout = config.width, config.eps, config.attention_dropout
        self.attn, self.attn_norm = Attention("attn", width, stack.heads, dropout), nn.LayerNorm(width, eps)
        if stack.cross:
            self.cross, self.cross_norm = (
                Attention("cross", width, stack.heads, dropout),
                nn.LayerNorm(width, eps),
            )
        self.mlp, self.mlp_norm = Mlp(config, stack.inner), nn.LayerNorm(width, eps)
        self.dropout, self.has_cross = config.dropout, stack.cross

    def forward(
        self, x: Tensor, batch: Batch, units: Mapping[str, Unit]
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The layer's output by token, and the two blocks' attention probabilities if they were asked for.

        Args:
            x: (…, D) by token.
            batch: what the stack was told about the batch.
            units: what is active here, by site.
        """
        h, weights = self.attn(x, batch, units)
        x = self._join("attn.join", h, x, self.attn_norm, batch, units)
        cross_weights = None
        if self.has_cross and batch.memory is not None:
            h, cross_weights = self.cross(x, batch, units, batch.memory)
            x = self._join("cross.join", h, x, self.cross_norm, batch, units)
        h = self.mlp(x, batch, units)
        return self._join("mlp.join", h, x, self.mlp_norm, batch, units), weights, cross_weights

    def _join(
        self, name: str, h: Tensor, x: Tensor, norm: nn.LayerNorm, batch: Batch, units: Mapping[str, Unit]
    ) -> Tensor:
        h = F.dropout(h, self.dropout, self.training)
        unit = units.get(name)
        joined = h if unit is None else unit(h, Ctx(batch.layout, batch.run.once, residual=x, norm=norm))
        if not isinstance(joined, Final):
            return norm(x + joined)  # type: ignore[no-any-return]
        if joined.where is None:
            return joined.value
        return torch.where(joined.where, joined.value, norm(x + joined.value))
