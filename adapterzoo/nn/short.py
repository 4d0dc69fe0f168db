"""Attention of short rows on CPUs: two products and a softmax, where PyTorch's own kernel takes up to twice as long.

Shapes: B rows, H heads, T queries, S keys, E head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adapterzoo.nn.linear import only_values

QUERIES, KEYS = 8, 64
"""Queries from which on, and keys up to which, this was quicker: 0.5 of the time at 16 by 16, 0.85 at 64 by 64."""

FEW, MANY = 1 << 16, 40_000_000
"""Numbers of all keys from which on it was, for four calls cost more than one, and those times E up to which it was."""


def is_short(q: Tensor, k: Tensor) -> bool:
    """Whether rows are so short, and nothing is asked for but values: float32, without gradients.

    Half precision is PyTorch's, which keeps scores in float32.

    Args:
        q: (B, H, T, E).
        k: (B, H, S, E).
    """
    if not only_values():  # asked first: a graph that is being made must not depend on sizes
        return False
    fits = q.size(2) >= QUERIES and k.size(2) <= KEYS and k.numel() >= FEW and k.numel() * k.size(3) <= MANY
    return fits and q.is_cpu and q.dtype is k.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")


def attend_short(q: Tensor, k: Tensor, v: Tensor, scale: float, seen: Tensor | None = None) -> Tensor:
    """softmax(s·q·kᵀ, masked)·v.

    Args:
        q: (B, H, T, E).
        k, v: (B, H, S, E).
        scale: s.
        seen: (B or 1, 1, T or 1, S), True where a query may look; None: everywhere.

    Returns:
        (B, H, T, E).
    """
    scores = q @ k.mT
    if seen is None:
        scores.mul_(scale)
    else:  # scaled and masked in one pass
        nothing = torch.where(seen, 0.0, torch.finfo(scores.dtype).min)
        torch.add(nothing, scores, alpha=scale, out=scores)
    weights: Tensor = torch.softmax(scores, -1, out=scores)
    return weights @ v
