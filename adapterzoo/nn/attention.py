"""Attention: who may look at whom, the one function that computes it, and the block with its sites.

Shapes: B rows, T queries, S keys, P prefix positions, H heads, E head width, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.sites import KV, Ctx, Run, Unit
from adapterzoo.nn.cache import Slot
from adapterzoo.nn.layout import Layout


class Mask:
    """Who may look at whom in one stack, for one forward.

    Args:
        keys: (B, S) True at keys that may be seen, or (B, T, S) for each query; None where all may be.
        causal: whether a query sees only keys up to its own position.
    """

    def __init__(self, keys: Tensor | None, causal: bool = False) -> None:
        self.keys = None if keys is None else keys[:, None, None] if keys.dim() == 2 else keys[:, None]
        self.causal = causal
        self._built: dict[int, Tensor] = {}

    def build(self, kv: KV, queries: int) -> tuple[Tensor | None, bool]:
        """The mask for these keys: a tensor (B or 1, 1, T or 1, P + S) or None, and whether it is merely causal.

        The queries are the last T of the S positions; those before them are remembered.
        """
        keys = kv.k.size(2) - kv.prefix
        causal = self.causal and queries > 1  # a lone query is the last, and sees all
        plain = self.keys is None and kv.valid is None
        if plain and not (causal and (kv.prefix or keys > queries)):
            return None, causal
        if kv.prefix not in self._built:
            self._built[kv.prefix] = self._tensor(kv, queries, causal)
        mask = self._built[kv.prefix]
        if kv.valid is not None:
            seen = kv.valid[:, None, None].expand(-1, 1, mask.size(2), -1)
            mask = torch.cat([seen, mask[..., kv.prefix :].expand(seen.size(0), -1, -1, -1)], -1)
        return mask, False

    def _tensor(self, kv: KV, queries: int, causal: bool) -> Tensor:
        keys = kv.k.size(2) - kv.prefix
        mask = self.keys
        if mask is None:
            mask = torch.ones(1, 1, 1, keys, dtype=torch.bool, device=kv.k.device)
        if causal:
            mask = mask & torch.ones(queries, keys, dtype=torch.bool, device=kv.k.device).tril(keys - queries)
        if self.keys is not None:
            # A query that may see nothing (it is padding itself) sees everything: softmax over nothing is NaN,
            # and a NaN value spreads in the next layer even where its weight is 0.
            mask = mask | ~mask.any(-1, keepdim=True)
        return F.pad(mask, (kv.prefix, 0), value=True)


def attend(
    q: Tensor, kv: KV, mask: Mask, dropout: float = 0.0, need_weights: bool = False
) -> tuple[Tensor, Tensor | None]:
    """softmax(q·kᵀ/√E, masked)·v.

    Args:
        q: (B, H, T, E).
        kv: keys and values, (B, H, P + S, E).
        mask: who may look at whom.
        dropout: chance with which an attention weight is dropped.
        need_weights: whether to return the attention probabilities; costs their memory.

    Returns:
        (B, H, T, E), and the probabilities (B, H, T, P + S) if they were asked for.
    """
    seen, causal = mask.build(kv, q.size(2))
    if not need_weights:
        return F.scaled_dot_product_attention(q, kv.k, kv.v, seen, dropout, causal), None
    scores = q @ kv.k.transpose(2, 3) / math.sqrt(q.size(3))
    if causal:
        seen = torch.ones(q.size(2), kv.k.size(2), dtype=torch.bool, device=q.device).tril()
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    return F.dropout(weights, dropout) @ kv.v, weights


class Memory(NamedTuple):
    """What cross-attention looks at: hidden states by token, how they lie, and which may be seen."""

    hidden: Tensor
    layout: Layout
    mask: Mask


class Batch(NamedTuple):
    """What every layer of a stack is told about the batch."""

    layout: Layout
    mask: Mask
    run: Run
    memory: Memory | None = None
    need_weights: bool = False


def adapt(
    name: str,
    y: Tensor,
    x: Tensor,
    weight: Callable[[], tuple[Tensor, Tensor]],
    layout: Layout,
    batch: Batch,
    units: Mapping[str, Unit],
) -> Tensor:
    """A linear site: y = Wx + b as what is active there leaves it.

    Args:
        name: the site's name within the layer.
        y: (…, d_out), the projection's output.
        x: (…, d_in), its input.
        weight: gives W and b.
        layout: how x and y lie.
        batch: what the stack was told about the batch.
        units: what is active in this layer.
    """
    unit = units.get(name)
    if unit is None:
        return y
    out: Tensor = unit(y, Ctx(layout, batch.run.once, x=x, weight=weight))
    return out


class QKV(nn.Module):
    """Query, key and value projections in one matrix: `weight` (3D, D) and `bias` (3D), the query's rows first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(3 * width, width))
        self.bias = nn.Parameter(torch.empty(3 * width))

    def forward(self, x: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q of x, and k and v of `source` if that is another tensor: three of (…, D)."""
        if source is None:
            q, k, v = F.linear(x, self.weight, self.bias).chunk(3, -1)
            return q, k, v
        k, v = F.linear(source, self.weight[self.width :], self.bias[self.width :]).chunk(2, -1)
        return F.linear(x, *self.q()), k, v

    def q(self) -> tuple[Tensor, Tensor]:
        """The query's weight (D, D) and bias, as views."""
        return self._part(0)

    def k(self) -> tuple[Tensor, Tensor]:
        """The key's weight (D, D) and bias, as views."""
        return self._part(1)

    def v(self) -> tuple[Tensor, Tensor]:
        """The value's weight (D, D) and bias, as views."""
        return self._part(2)

    def _part(self, part: int) -> tuple[Tensor, Tensor]:
        rows = slice(part * self.width, (part + 1) * self.width)
        return self.weight[rows], self.bias[rows]


class Linear(nn.Linear):
    """`nn.Linear` that hands its weight and bias to a unit."""

    def view(self) -> tuple[Tensor, Tensor]:
        """Weight (out, in) and bias."""
        return self.weight, self.bias


class Attention(nn.Module):
    """Multi-head attention with the sites q, k, v, kv and out.

    Args:
        block: "attn" or "cross", the first part of the sites' names.
        width: D.
        heads: H.
        dropout: on attention probabilities.
    """

    def __init__(self, block: str, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.block, self.heads, self.dropout = block, heads, dropout
        self.qkv, self.out = QKV(width), Linear(width, width)

    def forward(
        self,
        x: Tensor,
        batch: Batch,
        units: Mapping[str, Unit],
        memory: Memory | None = None,
        slot: Slot | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What the block adds, and the attention probabilities if they were asked for.

        Args:
            x: (…, D) by token.
            batch: what the stack was told about the batch.
            units: what is active here, by site.
            memory: what cross-attention looks at; None in self-attention.
            slot: the keys and values of earlier steps, to be extended.
        """
        source = memory or Memory(x, batch.layout, batch.mask)
        q, kv = self._project(x, source, batch, units, slot, memory is not None)
        unit = units.get(f"{self.block}.kv")
        if unit is not None:
            kv = unit(kv, Ctx(batch.layout, batch.run.once, x=x))
        y, weights = self.attend(q, kv, source.mask, batch)
        y = batch.layout.tokens(y.transpose(1, 2).flatten(2))
        return adapt(f"{self.block}.out", self.out(y), y, self.out.view, batch.layout, batch, units), weights

    def attend(self, q: Tensor, kv: KV, mask: Mask, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The queries' (B, H, T, E) mixture of values, and the probabilities if they were asked for."""
        return attend(q, kv, mask, self.dropout if self.training else 0.0, batch.need_weights)

    def _project(
        self, x: Tensor, source: Memory, batch: Batch, units: Mapping[str, Unit], slot: Slot | None, cross: bool
    ) -> tuple[Tensor, KV]:
        """Queries (B, H, T, E), and keys and values (B, H, S, E), those of earlier steps included."""
        if cross and slot is not None and slot.length:  # the memory is what it was in the first step
            q = adapt(f"{self.block}.q", F.linear(x, *self.qkv.q()), x, self.qkv.q, batch.layout, batch, units)
            return self._split(batch.layout.grid(q)), KV(*slot.seen())
        q, k, v = self.qkv(x, source.hidden if cross else None)
        q = adapt(f"{self.block}.q", q, x, self.qkv.q, batch.layout, batch, units)
        k = adapt(f"{self.block}.k", k, source.hidden, self.qkv.k, source.layout, batch, units)
        v = adapt(f"{self.block}.v", v, source.hidden, self.qkv.v, source.layout, batch, units)
        keys, values = self._split(source.layout.grid(k)), self._split(source.layout.grid(v))
        if slot is not None:
            keys, values = slot.extend(keys, values)
        return self._split(batch.layout.grid(q)), KV(keys, values)

    def _split(self, grid: Tensor) -> Tensor:
        """(B, T, D) to (B, H, T, E)."""
        return grid.view(*grid.shape[:-1], self.heads, -1).transpose(1, 2)
