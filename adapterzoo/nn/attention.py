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

from adapterzoo.core.config import StackConfig
from adapterzoo.core.run import KV, Ctx, Run, Tokens, Unit
from adapterzoo.nn.cache import Slot
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.relative import Distances


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

    def longer(self, tokens: Tokens) -> Mask:
        """The mask for rows with more positions.

        Those that the caller did not give are seen by all. Under a mask that says who may look at whom they see what
        all others see, so that nothing becomes known through them that was not before.
        """
        if self.keys is None or self.keys.size(2) == 1:
            return Mask(tokens.mask, self.causal)
        given = self.keys[:, 0]
        common = (given | ~given.any(2, keepdim=True)).all(1)  # a query that sees nothing is padding
        number = (tokens.own.cumsum(1) - 1).clamp(min=0)  # a position's number among those that the caller gave
        keys = _picked(given, number, 1).where(tokens.own[..., None], common[:, None])
        keys = _picked(keys, number, 2).where(tokens.own[:, None], True)
        return Mask(keys if tokens.mask is None else keys & tokens.mask[:, None], self.causal)

    def tiled(self, times: int) -> Mask:
        """The mask for so many copies of the batch."""
        mask = Mask(None, self.causal)
        mask.keys = None if self.keys is None else self.keys.repeat(times, 1, 1, 1)
        return mask

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
            rows, queries = kv.valid.size(0), max(kv.valid.size(1), mask.size(2))
            seen = kv.valid[:, None].expand(-1, 1, queries, -1)
            mask = torch.cat([seen, mask[..., kv.prefix :].expand(rows, -1, queries, -1)], -1)
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


def _picked(grid: Tensor, numbers: Tensor, dim: int) -> Tensor:
    """(B, T, S) with each row's own choice (B, n) along a dimension."""
    other = grid.size(3 - dim)
    index = numbers[:, :, None].expand(-1, -1, other) if dim == 1 else numbers[:, None].expand(-1, other, -1)
    return grid.gather(dim, index)


def attend(
    q: Tensor,
    kv: KV,
    mask: Mask,
    scale: float,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """softmax(s·q·kᵀ + bias, masked)·v.

    Args:
        q: (B, H, T, E).
        kv: keys and values, (B, H, P + S, E).
        mask: who may look at whom.
        scale: s.
        bias: (B, H, T, P + S), if any.
        dropout: chance with which an attention weight is dropped.
        need_weights: whether to return the attention probabilities; costs their memory.

    Returns:
        (B, H, T, E), and the probabilities (B, H, T, P + S) if they were asked for.
    """
    seen, causal = mask.build(kv, q.size(2))
    if causal and (need_weights or bias is not None):
        seen, causal = torch.ones(q.size(2), kv.k.size(2), dtype=torch.bool, device=q.device).tril(), False
    if not need_weights:
        seen = seen if bias is None else _masked(bias, seen)
        return F.scaled_dot_product_attention(q, kv.k, kv.v, seen, dropout, causal, scale=scale), None
    scores = q @ kv.k.transpose(2, 3) * scale
    weights = _masked(scores if bias is None else scores + bias, seen).softmax(-1)
    return F.dropout(weights, dropout) @ kv.v, weights


def _masked(scores: Tensor, seen: Tensor | None) -> Tensor:
    return scores if seen is None else scores.masked_fill(~seen, torch.finfo(scores.dtype).min)


class Memory(NamedTuple):
    """What cross-attention looks at: hidden states by token, how they lie, and which may be seen."""

    hidden: Tensor
    layout: Layout
    mask: Mask


def tiled(tensor: Tensor, times: int) -> Tensor:
    """So many copies of a tensor, one after the other along its first dimension."""
    return tensor if times == 1 else torch.cat([tensor] * times)


class Batch(NamedTuple):
    """What every layer of a stack is told about the batch."""

    layout: Layout
    mask: Mask
    run: Run
    memory: Memory | None = None
    need_weights: bool = False
    distances: Distances | None = None


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
    out: Tensor = unit(y, Ctx(layout, batch.run, x=x, weight=weight))
    return out


def normed(
    name: str, norm: nn.LayerNorm | None, x: Tensor, layout: Layout, run: Run, units: Mapping[str, Unit]
) -> Tensor:
    """A norm site: LayerNorm(x) as what is active there leaves it; x where there is no LayerNorm.

    Args:
        name: the site's name within the layer.
        norm: the LayerNorm.
        x: (…, D) by token.
        layout: how x lies.
        run: the forward.
        units: what is active in this layer.
    """
    if norm is None:
        return x
    y: Tensor = norm(x)
    unit = units.get(name)
    if unit is None:
        return y
    out: Tensor = unit(y, Ctx(layout, run, x=x, weight=lambda: (norm.weight, norm.bias), norm=norm))
    return out


class QKV(nn.Module):
    """Query, key and value projections in one matrix: `weight` (3D, D) and `bias` (3D), the query's rows first.

    Without a bias of the keys, `bias` is (2D): the query's and the value's.
    """

    def __init__(self, width: int, key_bias: bool = True) -> None:
        super().__init__()
        self.width, self.key_bias = width, key_bias
        self.weight = nn.Parameter(torch.empty(3 * width, width))
        self.bias = nn.Parameter(torch.empty((3 if key_bias else 2) * width))

    def forward(self, x: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q of x, and k and v of `source` if that is another tensor: three of (…, D)."""
        bias = self.bias if self.key_bias else torch.cat([self.q()[1], self.k()[1], self.v()[1]])
        if source is None:
            q, k, v = F.linear(x, self.weight, bias).chunk(3, -1)
            return q, k, v
        k, v = F.linear(source, self.weight[self.width :], bias[self.width :]).chunk(2, -1)
        return F.linear(x, *self.q()), k, v

    def q(self) -> tuple[Tensor, Tensor]:
        """The query's weight (D, D) and bias, as views."""
        return self._part(0)

    def k(self) -> tuple[Tensor, Tensor]:
        """The key's weight (D, D) and bias, as views; zeros where there is no bias."""
        return self._part(1)

    def v(self) -> tuple[Tensor, Tensor]:
        """The value's weight (D, D) and bias, as views."""
        return self._part(2)

    def _part(self, part: int) -> tuple[Tensor, Tensor]:
        weight = self.weight[part * self.width : (part + 1) * self.width]
        if self.key_bias:
            return weight, self.bias[part * self.width : (part + 1) * self.width]
        q, v = self.bias.chunk(2)
        return weight, (q, torch.zeros_like(q), v)[part]


class Linear(nn.Linear):
    """`nn.Linear` that hands its weight and bias to a unit."""

    def view(self) -> tuple[Tensor, Tensor]:
        """Weight (out, in) and bias."""
        return self.weight, self.bias


class SiteNames(NamedTuple):
    """The names of an attention block's sites."""

    q: str
    k: str
    v: str
    kv: str
    out: str


class Attention(nn.Module):
    """Multi-head attention with the sites q, k, v, kv and out.

    Args:
        block: "attn" or "cross", the first part of the sites' names.
        config: the stack's numbers.
    """

    def __init__(self, block: str, config: StackConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.attention_dropout
        self.sites = SiteNames(*(f"{block}.{part}" for part in SiteNames._fields))
        self.scale = 1 / math.sqrt(config.width // config.heads * config.score_terms)
        self.qkv, self.out = QKV(config.width, config.key_bias), Linear(config.width, config.width)

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
        unit = units.get(self.sites.kv)
        if unit is not None:
            kv = unit(kv, Ctx(batch.layout, batch.run, x=x))
        bias, dropout = self.bias(q, kv, batch, units), self.dropout if self.training else 0.0
        y, weights = attend(q, kv, source.mask, self.scale, bias, dropout, batch.need_weights)
        y = batch.layout.tokens(y.transpose(1, 2).flatten(2))
        return adapt(self.sites.out, self.out(y), y, self.out.view, batch.layout, batch, units), weights

    def bias(self, q: Tensor, kv: KV, batch: Batch, units: Mapping[str, Unit]) -> Tensor | None:
        """What is added to the scores of queries (B, H, T, E) and keys (B, H, P + S, E); None: nothing."""
        return None

    def _project(
        self, x: Tensor, source: Memory, batch: Batch, units: Mapping[str, Unit], slot: Slot | None, cross: bool
    ) -> tuple[Tensor, KV]:
        """Queries (B, H, T, E), and keys and values (B, H, S, E), those of earlier steps included."""
        if cross and slot is not None and slot.length:  # the memory is what it was in the first step
            q = adapt(self.sites.q, F.linear(x, *self.qkv.q()), x, self.qkv.q, batch.layout, batch, units)
            return self._split(batch.layout.grid(q)), KV(*slot.seen())
        q, k, v = self.qkv(x, source.hidden if cross else None)
        q = adapt(self.sites.q, q, x, self.qkv.q, batch.layout, batch, units)
        k = adapt(self.sites.k, k, source.hidden, self.qkv.k, source.layout, batch, units)
        v = adapt(self.sites.v, v, source.hidden, self.qkv.v, source.layout, batch, units)
        keys, values = self._split(source.layout.grid(k)), self._split(source.layout.grid(v))
        if slot is not None:
            keys, values = slot.extend(keys, values)
        return self._split(batch.layout.grid(q)), KV(keys, values)

    def _split(self, grid: Tensor) -> Tensor:
        """(B, T, D) to (B, H, T, E)."""
        return grid.view(*grid.shape[:-1], self.heads, -1).transpose(1, 2)
