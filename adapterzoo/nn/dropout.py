"""Dropout, drawn from whole random words on CPUs, where PyTorch draws a double for each number; attention with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.nn.linear import transformed

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
    return (x * _kept(x.shape, level)).mul_(_scale(level))


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
    out: Tensor = _Product.apply(x, y.contiguous(), _kept(x.shape, level), _scale(level))  # type: ignore[no-untyped-call]
    return out


def dropped_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, seen: Tensor | None, chance: float) -> Tensor:
    """dropped(softmax(s·q·kᵀ, masked))·v; the backward pass computes the probabilities again, and keeps a byte of each.

    Args:
        q: (…, T, E).
        k, v: (…, S, E).
        scale: s.
        seen: True where a query may look, to be broadcast to (…, T, S); None: everywhere.
        chance: from 0 to 1.

    Returns:
        (…, T, E).
    """
    level = round(chance * LEVELS)
    if not _drawn_here(q, level) or torch.is_autocast_enabled("cpu") or transformed():
        return dropped_product(_probabilities(q, k, scale, seen), chance, v)
    kept = _kept((*q.shape[:-1], k.size(-2)), level)
    out: Tensor = _Attention.apply(q, k, v, kept, seen, scale, _scale(level))  # type: ignore[no-untyped-call]
    return out


def _probabilities(q: Tensor, k: Tensor, scale: float, seen: Tensor | None) -> Tensor:
    scores = (q * scale) @ k.mT
    if not torch.is_grad_enabled() and not transformed():  # these are as large as anything in a step: in one memory
        scores = scores if seen is None else scores.masked_fill_(~seen, torch.finfo(scores.dtype).min)
        return torch.softmax(scores, -1, out=scores)
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    return scores.softmax(-1)


def _drawn_here(x: Tensor, level: int) -> bool:
    return x.is_cpu and 0 < level < LEVELS and not torch.compiler.is_compiling()


def _scale(level: int) -> float:
    return LEVELS / (LEVELS - level)


def _kept(shape: Sequence[int], level: int) -> Tensor:
    """What is kept of a tensor of that shape: booleans."""
    count = math.prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:count].view(*shape) >= level - LEVELS // 2


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


class _Attention(torch.autograd.Function):
    """(softmax(s·q·kᵀ, masked) ⊙ kept · c)·v, which keeps q, k, v and `kept`, and no probabilities."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, kept: Tensor, seen: Tensor | None, scale: float, by: float) -> Tensor:
        return _probabilities(q, k, scale, seen).mul_(kept).mul_(by) @ v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.scale, ctx.by = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, kept, seen = ctx.saved_tensors
        of_q, of_k, of_v = None, None, None
        weights = _probabilities(q, k, ctx.scale, seen)
        if ctx.needs_input_grad[2]:
            of_v = (weights * kept).mul_(ctx.by).mT @ gradient
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            of_weights = (gradient @ (v * ctx.by).mT).mul_(kept)
            common = (of_weights * weights).sum(-1, keepdim=True)
            if torch.is_grad_enabled():  # for gradients of the second order
                of_scores = weights * (of_weights - common)
            else:
                of_scores = of_weights.sub_(common).mul_(weights)
            of_q = (of_scores @ k).mul_(ctx.scale)
            of_k = of_scores.mT @ (q * ctx.scale)
        return of_q, of_k, of_v, None, None, None, None
