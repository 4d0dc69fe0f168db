"""A matrix whose rows (or columns, if it is tall) are orthonormal whatever an optimizer does to its parameters.

Shapes: r rows, D columns, n the longer of both, k the shorter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adapterzoo.core.blank import computed


class OrthogonalProjection(nn.Module):
    """R = (B·Q(X))ᵀ, with B (n, n) orthogonal and fixed, and Q (n, k) made of the trained X (arXiv:1909.09501).

    For k < n, Q is the product of Householder reflections whose vectors lie below X's diagonal, times the signs of the
    diagonal; for k = n it is exp(L - Lᵀ), L the lower triangle of X. This is PyTorch's parametrisation, but for one
    thing: it cuts the diagonal to whole numbers, so that -0.999, which -1 becomes by weight decay, is 0 there, and R
    with it; here it keeps its sign.

    Args:
        like: (r, D); R is this at first, its rows made orthonormal.
    """

    base: Tensor

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        n = max(like.shape)
        self.register_buffer("base", computed((n, n), lambda: _square(like.detach())))
        minus = computed(like.shape, lambda: -torch.eye(*like.shape, device=like.device))
        self.original = nn.Parameter(minus)  # Q is the identity's columns then

    @property
    def weight(self) -> Tensor:
        """R, (r, D); computed in float32 at least, which PyTorch's reflections ask for."""
        dtype = self.original.dtype
        wide = torch.promote_types(dtype, torch.float32)
        x, base = self.original.to(wide), self.base.to(wide)
        rows = x.size(0) < x.size(1)
        out = base @ _frame(x.T if rows else x)
        return (out.T if rows else out).to(dtype)


def _square(like: Tensor) -> Tensor:
    """An orthogonal matrix (n, n) whose first k columns span the rows, or columns, of `like`."""
    given = like.T if like.size(0) < like.size(1) else like
    n, k = given.shape
    square, scale = torch.linalg.qr(torch.cat([given, torch.randn(n, n - k, device=given.device)], 1))
    whole: Tensor = square * scale.diagonal().sgn()
    return whole.contiguous()


def _frame(x: Tensor) -> Tensor:
    """k orthonormal columns of n numbers from x (n, k)."""
    if x.size(0) == x.size(1):
        lower = x.tril()
        return torch.matrix_exp(lower - lower.T)
    vectors = x.tril(-1)
    scale = 2 / (1 + vectors.square().sum(0))
    reflected: Tensor = torch.linalg.householder_product(vectors, scale)
    return reflected * x.diagonal().sgn()
