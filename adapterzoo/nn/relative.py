"""Relative positions (He et al. 2021, arXiv:2006.03654): a table with a row for each distance of two tokens.

Shapes: T queries, S keys, R rows of the table, L = T + S distances, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from adapterzoo.core.config import RelativeConfig, StackConfig


class Distances(NamedTuple):
    """What the layers of a stack are told about distances; made once a forward.

    A query at position i and a key at position j are i - j apart; of S positions the queries have the last T.

    Attributes:
        table: (R, D).
        falling: (L,) rows of the table for the distances S - 1, S - 2, …, -T.
        rising: (L,) rows of the table for the distances -T + 1, -T + 2, …, S.
    """

    table: Tensor
    falling: Tensor
    rising: Tensor


class RelativePositions(nn.Module):
    """The table of a stack, through a LayerNorm where there is one.

    Args:
        config: the stack's numbers.
        relative: those of distances.
    """

    def __init__(self, config: StackConfig, relative: RelativeConfig) -> None:
        super().__init__()
        self.config = relative
        self.table = nn.Embedding(2 * relative.span, config.width)
        self.norm = nn.LayerNorm(config.width, config.eps) if relative.normed else None

    def forward(self, queries: int, keys: int) -> Distances:
        """The table and its rows for T queries and S keys."""
        table = self.table.weight
        rows = row_of(torch.arange(-queries, keys + 1, device=table.device), self.config)
        return Distances(table if self.norm is None else self.norm(table), rows[:-1].flip(0), rows[1:])


def row_of(distance: Tensor, config: RelativeConfig) -> Tensor:
    """The table's rows for distances: span + d, or span + bucket(d), but not beyond the first and the last row."""
    if config.far is not None:
        distance = bucket(distance, config.span, config.far)
    return (distance + config.span).clamp(0, 2 * config.span - 1)


def bucket(distance: Tensor, count: int, far: int) -> Tensor:
    """Buckets that grow with the distance: sign(d)·(m + ⌈(m - 1)·ln(|d|/m) / ln((far - 1)/m)⌉) where |d| > m, else d.

    Args:
        distance: whole numbers d.
        count: how many buckets there are on each side; m is its half, rounded down.
        far: the distance that ends the last.
    """
    middle = count // 2
    size = distance.abs()
    # In float32, operation by operation as in the models' training: another rounding might be another bucket.
    times = torch.log(size.clamp(min=middle) / middle)
    whole = torch.log(torch.tensor((far - 1) / middle, device=distance.device))
    log = torch.ceil(times / whole * (middle - 1)).long() + middle
    return torch.where(size <= middle, distance, distance.sign() * log)
