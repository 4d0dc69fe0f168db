"""Attention: the one function that computes it, and the block with its sites.

Shapes: B rows, T queries, S keys, P prefix positions, H heads, E head width, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.config import StackConfig
from adapterzoo.core.run import KV, Ctx, KVPart, Run, Unit
from adapterzoo.nn.acting import adapt, folded_parts, may_write, projected
from adapterzoo.nn.by_rows import attend_rows
from adapterzoo.nn.cache import Slot
from adapterzoo.nn.dropout import dropped_attention, dropped_product
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.linear import Linear, Packed, linear
from adapterzoo.nn.mask import Mask
from adapterzoo.nn.relative import Distances
from adapterzoo.nn.short import attend_short, is_short

MANY = 1 << 17
"""Numbers of all keys from which on lone queries are worth more calls of kernels."""


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
        q: (B, H, T, E); or (B·K, H, T, E), K rows in a row that look at the same keys, without bias.
        kv: keys and values, (B, H, P + S, E).
        mask: who may look at whom.
        scale: s.
        bias: (B, H, T, P + S), if any.
        dropout: chance with which an attention weight is dropped.
        need_weights: whether to return the attention probabilities; costs their memory.

    Returns:
        (B, H, T, E), and the probabilities (B, H, T, P + S) if they were asked for.
    """
    if q.size(0) != kv.k.size(0):
        return _attend_together(q, kv, mask, scale, dropout, need_weights)
    seen, causal = mask.build(kv, q.size(2))
    if bias is None and not (need_weights or dropout or causal) and is_short(q, kv.k):
        return attend_short(q, kv.k, kv.v, scale, seen), None
    # For dropout, and for many lone queries, PyTorch's own way on CPUs is the same, or slower.
    scored = need_weights or (q.is_cpu and (dropout > 0 or (q.size(2) == 1 and kv.k.numel() >= MANY)))
    if causal and (scored or bias is not None):
        seen, causal = torch.ones(q.size(2), kv.k.size(2), dtype=torch.bool, device=q.device).tril(), False
    if not scored:
        seen = seen if bias is None else _masked(bias, seen)
        return F.scaled_dot_product_attention(q, kv.k, kv.v, seen, dropout, causal, scale=scale), None
    if bias is None and dropout > 0 and not need_weights:
        return dropped_attention(q, kv.k, kv.v, scale, seen, dropout), None
    scores = (q * scale) @ kv.k.transpose(2, 3)
    weights = _masked(scores if bias is None else scores + bias, seen).softmax(-1)
    return dropped_product(weights, dropout, kv.v), weights if need_weights else None


def _attend_together(
    q: Tensor, kv: KV, mask: Mask, scale: float, dropout: float, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """`attend` for K rows in a row that look at the same keys: their queries are those of one row, (B, H, K·T, E)."""
    rows, queries = kv.k.size(0), q.size(2)
    one: Tensor = q.unflatten(0, (rows, -1)).transpose(1, 2).flatten(2, 3)

    def apart(tensor: Tensor) -> Tensor:
        heads: Tensor = tensor.unflatten(2, (-1, queries))
        return heads.transpose(1, 2).flatten(0, 1)

    y, weights = attend(one, kv, mask, scale, None, dropout, need_weights)
    return apart(y), None if weights is None else apart(weights)


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


class QKV(nn.Module):
    """Query, key and value projections in one matrix: `weight` (3D, D) and `bias` (3D), the query's rows first.

    Without a bias of the keys, `bias` is (2D): the query's and the value's.

    Attributes:
        packed: keeps the whole weight packed, if that was asked for.
    """

    packed: Packed | None = None

    def __init__(self, width: int, key_bias: bool = True) -> None:
        super().__init__()
        self.width, self.key_bias = width, key_bias
        self.weight = nn.Parameter(torch.empty(3 * width, width))
        self.bias = nn.Parameter(torch.empty((3 if key_bias else 2) * width))

    def forward(self, x: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q of x, and k and v of `source` if that is another tensor: three of (…, D)."""
        bias = self.bias if self.key_bias else torch.cat([self.bias_of(part) for part in range(3)])
        if source is None:
            q, k, v = linear(x, self.weight, bias, self.packed).chunk(3, -1)
            return q, k, v
        k, v = linear(source, self.weight[self.width :], bias[self.width :]).chunk(2, -1)
        return self.query(x), k, v

    def query(self, x: Tensor) -> Tensor:
        """q of x, (…, D)."""
        return linear(x, *self.q())

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
        return self.weight[part * self.width : (part + 1) * self.width], self.bias_of(part)

    def bias_of(self, part: int) -> Tensor:
        """The bias (D) of the query (0), the key (1) or the value (2); zeros where there is none."""
        if self.key_bias:
            return self.bias[part * self.width : (part + 1) * self.width]
        q, v = self.bias.chunk(2)
        return (q, torch.zeros_like(q), v)[part]


def _alone(bare: tuple[Tensor, Tensor, Tensor], acted: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, of which none keeps the memory of all three for the backward pass.

    They are parts of one tensor. Where a unit made some of them anew, the rest would hold on to it as a whole.
    """
    left = [one is other for one, other in zip(bare, acted, strict=True)]
    if not torch.is_grad_enabled() or all(left) or not any(left) or torch.compiler.is_compiling():
        return acted
    q, k, v = (one.contiguous() if stays else one for one, stays in zip(acted, left, strict=True))
    return q, k, v


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
        if memory is None and slot is None and self._by_rows(batch, units):
            y, weights = self._attend_rows(x, batch, units), None
        else:
            y, weights = self._attend_grid(x, batch, units, memory, slot)
        return projected(self.sites.out, self.out, y, batch.layout, batch.run, units), weights

    @property
    def _chance(self) -> float:
        """With which an attention weight is dropped now."""
        return self.dropout if self.training else 0.0

    def _by_rows(self, batch: Batch, units: Mapping[str, Unit]) -> bool:
        """Whether rows are long, and nothing is asked for that is there on the grid alone."""
        special = batch.need_weights or batch.distances is not None or self.sites.kv in units
        special = special or (batch.mask.causal and self._chance > 0)
        return not special and batch.layout.long_rows is not None

    def _attend_rows(self, x: Tensor, batch: Batch, units: Mapping[str, Unit]) -> Tensor:
        """What the tokens of each row see in it, (N, D)."""
        assert batch.layout.long_rows is not None
        q, k, v = self._sited(x, Memory(x, batch.layout, batch.mask), batch, units, False)
        rows, causal = batch.layout.long_rows, batch.mask.causal
        return attend_rows(q, k, v, rows, self.heads, self.scale, causal, self._chance)

    def _attend_grid(
        self, x: Tensor, batch: Batch, units: Mapping[str, Unit], memory: Memory | None, slot: Slot | None
    ) -> tuple[Tensor, Tensor | None]:
        """What the tokens see, (…, D) by token, and the attention probabilities if they were asked for."""
        source = memory or Memory(x, batch.layout, batch.mask)
        q, kv = self._project(x, source, batch, units, slot, memory is not None)
        unit, ctx = units.get(self.sites.kv), Ctx(batch.layout, batch.run, x=x)
        apart = None if batch.need_weights or batch.distances is not None else getattr(unit, "by_length", None)
        if apart is not None and q.size(0) == kv.k.size(0) and not torch.compiler.is_compiling():
            y, weights = self._attend_apart(q, apart(kv, ctx), source.mask), None
        else:
            kv = kv if unit is None else unit(kv, ctx)
            bias = self.bias(q, kv, batch, units)
            y, weights = attend(q, kv, source.mask, self.scale, bias, self._chance, batch.need_weights)
        return batch.layout.tokens(y.transpose(1, 2).flatten(2)), weights

    def _attend_apart(self, q: Tensor, parts: Sequence[KVPart], mask: Mask) -> Tensor:
        """What rows see that do not all look at as many keys, part by part: (B, H, T, E)."""
        if len(parts) == 1:
            return attend(q, parts[0].kv, mask, self.scale, None, self._chance)[0]
        found = [attend(q[part.rows], part.kv, mask.of(part), self.scale, None, self._chance)[0] for part in parts]
        rows, heads, queries, width = q.shape
        y: Tensor = found[0].new_empty(rows, queries, heads, width)  # as tokens need it: to flatten it copies nothing
        for part, some in zip(parts, found, strict=True):
            y[part.rows] = some.transpose(1, 2)
        return y.transpose(1, 2)

    def bias(self, q: Tensor, kv: KV, batch: Batch, units: Mapping[str, Unit]) -> Tensor | None:
        """What is added to the scores of queries (B, H, T, E) and keys (B, H, P + S, E); None: nothing."""
        return None

    def _project(
        self, x: Tensor, source: Memory, batch: Batch, units: Mapping[str, Unit], slot: Slot | None, cross: bool
    ) -> tuple[Tensor, KV]:
        """Queries (B, H, T, E), and keys and values (B, H, S, E), those of earlier steps included."""
        if cross and slot is not None and slot.length:  # the memory is what it was in the first step
            q = adapt(self.sites.q, self.qkv.query(x), x, self.qkv.q, batch.layout, batch.run, units)
            return self._split(batch.layout.grid(q)), KV(*slot.seen())
        q, k, v = self._sited(x, source, batch, units, cross)
        keys, values = self._split(source.layout.grid(k)), self._split(source.layout.grid(v))
        if slot is not None:
            keys, values = slot.extend(keys, values)
        return self._split(batch.layout.grid(q)), KV(keys, values)

    def _sited(
        self, x: Tensor, source: Memory, batch: Batch, units: Mapping[str, Unit], cross: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by token as what is active leaves them: three of (…, D)."""
        sites = self.sites
        own = may_write(self.qkv)
        folded = None if cross else folded_parts(self.qkv, x, [units.get(name) for name in sites[:3]])
        if folded is None:
            q, k, v = self.qkv(x, source.hidden if cross else None)
        else:
            q, k, v = linear(x, *folded.pair).chunk(3, -1)
            units = {name: units[name] for part, name in enumerate(sites[:3]) if name in units and part in folded.left}
        bare = q, k, v
        q = adapt(sites.q, q, x, self.qkv.q, batch.layout, batch.run, units, own)
        k = adapt(sites.k, k, source.hidden, self.qkv.k, source.layout, batch.run, units, own)
        v = adapt(sites.v, v, source.hidden, self.qkv.v, source.layout, batch.run, units, own)
        return (q, k, v) if cross else _alone(bare, (q, k, v))

    def _split(self, grid: Tensor) -> Tensor:
        """(B, T, D) to (B, H, T, E)."""
        return grid.view(*grid.shape[:-1], self.heads, -1).transpose(1, 2)
