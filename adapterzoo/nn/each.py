"""Weights of one adapter, or of each of G adapters whose tokens lie side by side: (G, L, d), L tokens of each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Wx + b under one W (d_out, d_in) and b (d_out), or under each of G: (G, d_out, d_in) and (G, d_out).

    Args:
        x: (…, d_in); (G, L, d_in) where there are several W.
        weight: W.
        bias: b.
    """
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    return torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias[:, None], x, weight.mT)


def added(y: Tensor, x: Tensor, weight: Tensor, own: bool = False) -> Tensor:
    """y + Wx: of (…, d_out) and (…, d_in); under each of G weights of (G, L, d_out) and (G, L, d_in).

    Args:
        y: what is added to.
        x: what is multiplied.
        weight: W.
        own: whether y may be written to; it is returned then.
    """
    if not y.dtype == x.dtype == weight.dtype:
        return y + linear(x, weight).to(y.dtype)
    if weight.dim() == 3 and not own:
        return torch.baddbmm(y, x, weight.mT)
    if weight.dim() == 3:  # into a part of a wider tensor, `baddbmm_` takes four times as long
        return y.baddbmm_(x, weight.mT) if y.is_contiguous() else y.add_(torch.bmm(x, weight.mT))
    if not own:
        return y + linear(x, weight)
    even = y.dim() == 2 or (y.dim() == 3 and y.stride(0) == y.size(1) * y.stride(1))
    return y.flatten(0, -2).addmm_(x.flatten(0, -2), weight.T).view_as(y) if even else y.add_(linear(x, weight))


def across(vector: Tensor) -> Tensor:
    """A number for each channel (d), or those of each of G, (G, d) to (G, 1, d), for all of its tokens."""
    return vector if vector.dim() == 1 else vector[:, None]
