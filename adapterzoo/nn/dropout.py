"""Dropout, drawn from whole random words on CPUs, where PyTorch draws a double for each number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 1 << 16
"""Chances that are told apart on CPUs: one word of 64 bits decides over four numbers."""


def dropped(x: Tensor, chance: float, training: bool = True) -> Tensor:
    """Each number with so much chance 0, else divided by 1 - chance; x itself outside of training.

    On CPUs the chance is rounded to 1/65536, and what is kept is divided by 1 less that. There it takes about a third
    of `F.dropout`'s time, which is much of a training step's, and a quarter of the memory for the backward pass.

    Args:
        x: (…).
        chance: from 0 to 1.
        training: whether to drop anything.
    """
    if not training:
        return x
    level = round(chance * LEVELS)
    if not _drawn_here(x, level):
        return F.dropout(x, chance)
    return (x * _kept(x, level)).mul_(_scale(level))


def dropped_product(x: Tensor, chance: float, y: Tensor) -> Tensor:
    """dropped(x)·y; what was dropped of x is computed again in the backward pass, for it is as large as x.

    Args:
        x: (…, n, m).
        chance: from 0 to 1; 0 drops nothing.
        y: (…, m, d).

    Returns:
        (…, n, d).
    """
    level = round(chance * LEVELS)
    if not _drawn_here(x, level):
        return F.dropout(x, chance) @ y
    out: Tensor = _Product.apply(x, y.contiguous(), _kept(x, level), _scale(level))  # type: ignore[no-untyped-call]
    return out


def _drawn_here(x: Tensor, level: int) -> bool:
    return x.is_cpu and 0 < level < LEVELS and not torch.compiler.is_compiling()


def _scale(level: int) -> float:
    return LEVELS / (LEVELS - level)


def _kept(x: Tensor, level: int) -> Tensor:
    """What is kept of x: booleans of its shape."""
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[: x.numel()].view(x.shape) >= level - LEVELS // 2


class _Product(torch.autograd.Function):
    """(x ⊙ kept · s)·y, which keeps x, y and `kept`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, kept: Tensor, scale: float) -> Tensor:
        return (x * kept).mul_(scale) @ y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: Tensor) -> None:
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, y, kept = ctx.saved_tensors
        of_x = (gradient @ (y * ctx.scale).mT).mul_(kept) if ctx.needs_input_grad[0] else None
        of_y = (x * kept).mul_(ctx.scale).mT @ gradient if ctx.needs_input_grad[1] else None
        return of_x, of_y, None, None
