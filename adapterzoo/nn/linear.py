"""y = Wx + b, by the quicker one of the two kernels that PyTorch has for it on CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from adapterzoo.core.cpu import is_fast_on_cpu
from adapterzoo.nn.activations import IN_PLACE, Activation, gelu, gelu_tanh

LEAST = 1 << 18
"""Numbers that a product reads from which on oneDNN is worth what a call of it costs."""

PLAIN = (Tensor, nn.Parameter)
"""What oneDNN takes for weights; tensors of other classes have products of their own."""


def _prefers_onednn(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether oneDNN's product of float32 is the quicker one: it is where MKL's, which `F.linear` calls, holds back.

    MKL does so on processors of other makers than its own. On AMD's with AVX-512 oneDNN's took 0.35 to 0.7 of the time
    at 1 to 64 rows and 0.8 to 0.95 at 512 and more. Elsewhere nothing was measured, and `F.linear` stays.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and cpuinfo.exists()):
        return False
    with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
        vendor = next((line for line in lines if line.startswith("vendor_id")), "")
    return "AuthenticAMD" in vendor and hasattr(torch.ops.mkldnn, "_linear_pointwise")


ONEDNN = torch.ops.mkldnn._linear_pointwise.default if _prefers_onednn() else None
"""oneDNN's product, if it is the quicker one here."""

DTYPES = tuple(filter(is_fast_on_cpu, (torch.float32, torch.bfloat16)))
"""What it multiplies. `F.linear` gives the same bits of bfloat16, in 1.05 to 1.25 of its time."""

FUSED: dict[Activation, tuple[str, str]] = {gelu: ("gelu", "none"), gelu_tanh: ("gelu", "tanh"), F.relu: ("relu", "")}
"""Functions that it can apply to the product while that is in the processor's cache, and what it calls them."""

LEVEL = torch._C._functorch.maybe_current_level


class Packed:
    """A weight in oneDNN's own order, beside the weight itself: quicker where rows are few, for as much memory again.

    It is made when it is first needed, and anew where the weight has changed since.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def of(self, weight: Tensor) -> Tensor:
        """The weight (d_out, d_in), packed."""
        now = (weight._version, weight.data_ptr())
        kept = self._kept
        if kept is None or kept[0] != now:
            kept = self._kept = (now, torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None))
        return kept[1]

    def __reduce__(self) -> tuple[type[Packed], tuple[()]]:
        return Packed, ()  # a copy, or what is read from a file, packs anew


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, packed: Packed | None = None) -> Tensor:
    """Wx + b as `F.linear` gives it, but for the order in which floats are added up.

    Args:
        x: (…, d_in).
        weight: (d_out, d_in).
        bias: (d_out).
        packed: keeps the weight packed, where that is wanted.
    """
    if ONEDNN is None or not _fits(x, weight, bias):
        return F.linear(x, weight, bias)
    ready = _ready(weight, packed)
    if x.requires_grad and torch.is_grad_enabled():
        y: Tensor = Frozen.apply(x, weight, bias, ready)  # type: ignore[no-untyped-call]
        return y
    return _product(x, ready, bias)


def activated(x: Tensor, weight: Tensor, bias: Tensor, function: Activation, packed: Packed | None = None) -> Tensor:
    """f(Wx + b), in one step where nothing is differentiated; see `linear`.

    Args:
        x: (…, d_in).
        weight: (d_out, d_in).
        bias: (d_out).
        function: f.
        packed: keeps the weight packed, where that is wanted.
    """
    one_step = ONEDNN is not None and function in FUSED and not (x.requires_grad and torch.is_grad_enabled())
    if one_step and _fits(x, weight, bias):
        return _product(x, _ready(weight, packed), bias, *FUSED[function])
    return over(linear(x, weight, bias, packed), function)


def over(y: Tensor, function: Activation) -> Tensor:
    """f(y), y overwritten where nothing is differentiated: new memory is dear, for each page of it is cleared first.

    Args:
        y: what nobody else has seen.
        function: f.
    """
    return IN_PLACE.get(function, function)(y) if only_values() else function(y)


def plus(y: Tensor, x: Tensor, own: bool) -> Tensor:
    """y + x.

    Args:
        y: (…).
        x: of y's shape.
        own: whether y may be written to.
    """
    return y.add_(x) if own and y.dtype is x.dtype else y + x


def only_values() -> bool:
    """Whether a forward is for its values alone: nothing is differentiated, transformed or compiled."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or transformed())


def _ready(weight: Tensor, packed: Packed | None) -> Tensor:
    return weight if packed is None or weight.is_inference() else packed.of(weight)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, function: str = "none", algorithm: str = "") -> Tensor:
    assert ONEDNN is not None
    y: Tensor = ONEDNN(x, weight, bias, function, [], algorithm)
    return y


class Frozen(torch.autograd.Function):
    """Wx + b under a W and b that are not trained. Its gradient Wᵀg is a product of the same kind."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, ready: Tensor) -> Tensor:
        """(…, d_in) to (…, d_out); `ready` is W, packed or as it is."""
        return _product(x, ready, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, Tensor], output: Tensor) -> None:
        """The weight alone is needed later."""
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """(…, d_out) to (…, d_in)."""
        (weight,) = ctx.saved_tensors
        return linear(grads[0], weight.t()), None, None, None


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN's product is for these: large, of DTYPES, on the CPU, with nothing that follows operations."""
    if weight.numel() + x.numel() < LEAST or torch.compiler.is_compiling():
        return False
    if type(weight) not in PLAIN or type(x) is not Tensor:
        return False
    if not (x.dtype is weight.dtype and x.dtype in DTYPES and x.is_cpu and weight.is_cpu):
        return False
    if torch.is_grad_enabled() and (weight.requires_grad or (bias is not None and bias.requires_grad)):
        return False  # it has no gradient for these
    return not torch.is_autocast_enabled("cpu") and not transformed()


def transformed() -> bool:
    """Whether a function transform or forward-mode differentiation is at work: oneDNN's product knows of neither."""
    return LEVEL() is not None or forward_ad._current_level >= 0


class Linear(nn.Linear):
    """`nn.Linear` by `linear`, that hands its weight and bias to a unit.

    Attributes:
        packed: keeps the weight packed, if that was asked for.
    """

    packed: Packed | None = None

    def reset_parameters(self) -> None:
        """As in `nn.Linear`; without memory there is nothing to fill."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, input: Tensor, function: Activation | None = None) -> Tensor:
        """Wx + b, or f(Wx + b) with an f; (…, d_in) to (…, d_out)."""
        if function is not None:
            return activated(input, self.weight, self.bias, function, self.packed)
        return linear(input, self.weight, self.bias, self.packed)

    def view(self) -> tuple[Tensor, Tensor]:
        """Weight (out, in) and bias."""
        return self.weight, self.bias
