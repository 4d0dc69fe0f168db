"""Disentangled attention (He et al. 2021, arXiv:2006.03654): tokens' distances have a say in who looks at whom.

Shapes: B rows, T queries, S keys, P prefix positions, H heads, E head width, D width, R rows of the table of distances,
L = T + S distances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.core.config import StackConfig
from adapterzoo.core.run import KV, Unit
from adapterzoo.nn.acting import adapt
from adapterzoo.nn.attention import Attention, Batch
from adapterzoo.nn.dropout import dropped
from adapterzoo.nn.linear import Linear, linear


class DisentangledAttention(Attention):
    """Attention with the scores (qᵢ·kⱼ + qᵢ·K(rᵢⱼ) + kⱼ·Q(rᵢⱼ)) / √(E·terms), r the table's row for the distance i - j.

    K and Q are projections of their own or those of tokens; in the latter case what is active at the sites k and q acts
    on distances, too, as it would if it were merged into the weights. A prefix lies at no distance: its scores are
    qᵢ·kⱼ alone.

    Args:
        block: the first part of the sites' names.
        config: the stack's numbers, those of distances included.
    """

    def __init__(self, block: str, config: StackConfig) -> None:
        super().__init__(block, config)
        assert config.relative is not None
        self.relative, self.table_dropout, width = config.relative, config.dropout, config.width
        own = not self.relative.shared
        self.position_k = Linear(width, width, config.key_bias) if self.relative.keys and own else None
        self.position_q = Linear(width, width) if self.relative.queries and own else None

    def bias(self, q: Tensor, kv: KV, batch: Batch, units: Mapping[str, Unit]) -> Tensor | None:
        """(qᵢ·K(rᵢⱼ) + kⱼ·Q(rᵢⱼ)) / √(E·terms), (B, H, T, P + S), zeros at the prefix; None where there is neither."""
        assert batch.distances is not None
        table, falling, rising = batch.distances
        table = dropped(table, self.table_dropout, self.training)
        keys = kv.k[:, :, kv.prefix :]
        bias: Tensor | None = None
        if self.relative.keys:
            at = self._at("k", self.position_k, table, falling, batch, units)
            bias = skewed(q @ at, keys.size(2))
        if self.relative.queries:
            at = self._at("q", self.position_q, table, rising, batch, units)
            looked_at = skewed(keys @ at, q.size(2)).transpose(2, 3)
            bias = looked_at if bias is None else bias + looked_at
        return bias if bias is None or not kv.prefix else F.pad(bias, (kv.prefix, 0))

    def _at(
        self, part: str, own: Linear | None, table: Tensor, rows: Tensor, batch: Batch, units: Mapping[str, Unit]
    ) -> Tensor:
        """The table's projections at `rows`, scaled: (1 or B, H, E, L)."""
        name: str = getattr(self.sites, part)
        view: Callable[[], tuple[Tensor, Tensor]] = getattr(self.qkv, part) if own is None else own.view
        if own is None and name in units:  # which may look at the table as a whole
            layout = batch.layout.beside(table.size(0))
            x = table.expand(layout.rows, -1, -1)
            silent = batch.run._replace(notes=None)  # scores are told of tokens alone
            y = adapt(name, linear(table, *view()).expand_as(x), x, view, layout, silent, units)
            y = y.index_select(1, rows)
        elif not torch.compiler.is_compiling() and rows.size(0) < table.size(0):  # a graph is one for all lengths
            y = linear(table.index_select(0, rows), *view())[None]
        else:
            y = linear(table, *view()).index_select(0, rows)[None]
        at: Tensor = self._split(y * self.scale).transpose(2, 3)
        return at


def skewed(scores: Tensor, width: int) -> Tensor:
    """Row i shifted to the left by n - 1 - i, as a view: out[…, i, j] = scores[…, i, j - i + n - 1].

    Args:
        scores: (B, H, n, n + width).
        width: how many columns to keep.

    Returns:
        (B, H, n, width).
    """
    n, step = scores.size(2), scores.size(3) - 1
    flat = scores.flatten(2)[..., n - 1 : n - 1 + n * step]
    return flat.view(*flat.shape[:2], n, step)[..., :width]
