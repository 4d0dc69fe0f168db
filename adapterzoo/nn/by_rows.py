"""Attention within each row of a packed batch, on CPUs: nothing is brought onto the grid, no padding is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.nn.dropout import dropped_attention

LEAST = 24
"""Tokens of a row, on average, from which on a call for each row is quicker than one call for the grid."""


def attend_rows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Sequence[int],
    heads: int,
    scale: float,
    causal: bool,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(s·q·kᵀ)·v, where the tokens of a row look at each other.

    Args:
        q, k, v: (N, D), one row's tokens after the other's.
        lengths: how many tokens each row has; N in all.
        heads: H.
        scale: s.
        causal: whether a token sees only those up to itself; there is no dropout then.
        dropout: chance with which an attention weight is dropped.

    Returns:
        (N, D).
    """
    split = [[part.unflatten(1, (heads, -1)).transpose(0, 1)[None] for part in x.split(lengths)] for x in (q, k, v)]

    def row(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if dropout:  # PyTorch's own way is the same on CPUs, but slower
            return dropped_attention(query, key, value, scale, None, dropout)
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale)

    return torch.cat([row(*parts)[0].transpose(0, 1).flatten(1) for parts in zip(*split, strict=True)])
