"""What keeps a tensor of a file from being one of ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FRACTIONS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""The dtypes in which weights are read. Those of 8 bits say nothing without scales, which lie beside them."""


def misfit(found: Tensor, shape: Sequence[int], fractions: bool = True) -> str | None:
    """What is wrong with a tensor, in words that follow its name; None if nothing is.

    Args:
        found: the tensor. Its values are not looked at.
        shape: the shape that it must have.
        fractions: whether ours holds numbers with a fraction. Files may have these in another dtype, but not whole
            numbers in their place.
    """
    if tuple(found.shape) != tuple(shape):
        return f"has shape {tuple(found.shape)}, not {tuple(shape)}"
    return wrong_dtype(found, fractions)


def wrong_dtype(found: Tensor, fractions: bool = True) -> str | None:
    """The same of a tensor's dtype alone, and of how it lies in memory."""
    if found.layout != torch.strided or found.is_meta or found.is_quantized:
        return "is no plain tensor: it is sparse or quantized, or has no values"
    if fractions != (found.dtype in FRACTIONS):
        numbers = "numbers with a fraction" if fractions else "whole numbers"
        return f"holds {found.dtype}, not {numbers}"
    return None
