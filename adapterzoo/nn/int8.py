"""Frozen linear maps with int8 weights, and products of int8: with VNNI about four times as fast as float32's.

A row i of the input x is rounded to int8 by a scale aᵢ = max|xᵢ| / 127 of its own, a row j of the weight by
sⱼ = max|Wⱼ| / 127, once; then y = aᵢ·sⱼ·(x̂·Ŵᵀ) + b. So no row's numbers depend on what other rows are beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo.nn.activations import Activation
from adapterzoo.nn.attention import QKV
from adapterzoo.nn.linear import Linear, linear, over

LEVELS = 127
"""The largest int8 that is used: -128 has no counterpart."""

TINY = 1e-30
"""What a row's largest number is at least, so that rows of zeros stay zeros."""

AT_ONCE = 512
"""How many rows are multiplied at once on CPUs: what lies between the steps then fits in the cache."""


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (out, in) as int8, and each row's scale (out) in float32."""
    weight = weight.detach().float()
    scale = weight.abs().amax(1).clamp(min=TINY) / LEVELS
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def product(x: Tensor, int8: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Wx + b.

    Args:
        x: (…, d_in), floats.
        int8: (d_out, d_in).
        scale: (d_out).
        bias: (d_out).

    Returns:
        (…, d_out) in x's dtype.
    """
    if torch.is_grad_enabled() and (x.requires_grad or bias.requires_grad):
        out: Tensor = Int8Product.apply(x, int8, scale, bias)  # type: ignore[no-untyped-call]
        return out
    return _product(x, int8, scale, bias)


def _product(x: Tensor, int8: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    if not x.is_cpu:  # elsewhere not every shape has a product of int8
        return linear(x, int8.to(x.dtype) * scale.to(x.dtype)[:, None], bias)
    rows, (scale, bias) = x.reshape(-1, x.size(-1)), (scale.float(), bias.float())
    y = torch.empty(rows.size(0), int8.size(0), device=x.device)
    # The products are so fast that passes over tensors count, unless these stay in the cache. A compiler fuses them.
    at_once = max(1, rows.size(0)) if torch.compiler.is_compiling() else AT_ONCE
    for some, out in zip(rows.split(at_once), y.split(at_once), strict=True):
        _fill(out, some.float(), int8, scale, bias)
    return y.to(x.dtype).view(*x.shape[:-1], int8.size(0))


def _fill(y: Tensor, rows: Tensor, int8: Tensor, scale: Tensor, bias: Tensor) -> None:
    """Put the products (n, d_out) of rows (n, d_in) into y."""
    largest = rows.abs().amax(1, keepdim=True).clamp_(min=TINY)
    products = torch._int_mm((rows * (LEVELS / largest)).round_().to(torch.int8), int8.t())
    y.copy_(products).mul_(largest / LEVELS)
    torch.addcmul(bias, y, scale, out=y)


class Int8Product(torch.autograd.Function):
    """`product` with a gradient: that of a product with the floats that the int8 stand for, x not rounded."""

    @staticmethod
    def forward(x: Tensor, int8: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        """(…, d_in) to (…, d_out)."""
        return _product(x, int8, scale, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
        """The weight alone is needed later."""
        ctx.save_for_backward(*inputs[1:3])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
        """(…, d_out) to (…, d_in)."""
        int8, scale = ctx.saved_tensors
        grad, onto_x, onto_bias = grads[0], None, None
        if ctx.needs_input_grad[0]:
            onto_x = linear(grad * scale.to(grad.dtype), int8.to(grad.dtype).t())
        if ctx.needs_input_grad[3]:
            onto_bias = grad.flatten(0, -2).sum(0)
        return onto_x, None, None, onto_bias


class Int8Linear(nn.Module):
    """What stands in a `Linear`'s place.

    Args:
        weight: (out, in).
        bias: its parameter, which stays a float.
    """

    int8: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bias: nn.Parameter) -> None:
        super().__init__()
        int8, scale = rounded(weight)
        self.register_buffer("int8", int8)
        self.register_buffer("scale", scale)
        self.bias = bias

    @classmethod
    def of(cls, linear: Linear) -> Int8Linear:
        """The same map, rounded."""
        return cls(linear.weight, linear.bias)

    def forward(self, x: Tensor, function: Activation | None = None) -> Tensor:
        """Wx + b, or f(Wx + b) with an f; (…, d_in) to (…, d_out)."""
        y = product(x, self.int8, self.scale, self.bias)
        return y if function is None else over(y, function)

    def view(self) -> tuple[Tensor, Tensor]:
        """The weight (out, in) that the int8 stand for, made anew with each call, and the bias."""
        return _floats(self.int8, self.scale, self.bias.dtype), self.bias


class Int8QKV(QKV):
    """What stands in a `QKV`'s place.

    Args:
        weight: (3D, D).
        bias: its parameter, (3D) or (2D).
    """

    int8: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bias: nn.Parameter) -> None:
        nn.Module.__init__(self)
        self.width = weight.size(1)
        self.key_bias, self.bias = bias.numel() == 3 * self.width, bias
        int8, scale = rounded(weight)
        self.register_buffer("int8", int8)
        self.register_buffer("scale", scale)

    @classmethod
    def of(cls, qkv: QKV) -> Int8QKV:
        """The same map, rounded."""
        return cls(qkv.weight, qkv.bias)

    def forward(self, x: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q of x, and k and v of `source` if that is another tensor: three of (…, D)."""
        if source is None:
            q, k, v = self._product(x, 0, 3).chunk(3, -1)
            return q, k, v
        k, v = self._product(source, 1, 3).chunk(2, -1)
        return self.query(x), k, v

    def query(self, x: Tensor) -> Tensor:
        """q of x, (…, D)."""
        return self._product(x, 0, 1)

    def _product(self, x: Tensor, first: int, last: int) -> Tensor:
        rows = slice(first * self.width, last * self.width)
        bias = self.bias if self.key_bias else torch.cat([self.bias_of(part) for part in range(3)])
        return product(x, self.int8[rows], self.scale[rows], bias[rows])

    def _part(self, part: int) -> tuple[Tensor, Tensor]:
        rows = slice(part * self.width, (part + 1) * self.width)
        return _floats(self.int8[rows], self.scale[rows], self.bias.dtype), self.bias_of(part)


def _floats(int8: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return (int8 * scale.float()[:, None]).to(dtype)
