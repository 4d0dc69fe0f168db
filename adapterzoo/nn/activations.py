"""Activation functions by the names that config files use."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.core.fields import Rule
from adapterzoo.core.registry import Registry, listing

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: Registry[Activation] = Registry("activation function")


@ACTIVATIONS.register("gelu", "gelu_python")
def gelu(x: Tensor) -> Tensor:
    """x·Φ(x), with the error function."""
    return F.gelu(x)


@ACTIVATIONS.register("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate")
def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's tanh approximation: x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    return F.gelu(x, approximate="tanh")


@ACTIVATIONS.register("gelu_10")
def gelu_10(x: Tensor) -> Tensor:
    """GELU cut at -10 and 10."""
    return F.gelu(x).clamp(-10, 10)


@ACTIVATIONS.register("quick_gelu")
def quick_gelu(x: Tensor) -> Tensor:
    """x·σ(1.702·x)."""
    return x * torch.sigmoid(1.702 * x)


@ACTIVATIONS.register("relu2")
def relu_squared(x: Tensor) -> Tensor:
    """relu(x)²."""
    return F.relu(x).square()


@ACTIVATIONS.register("laplace")
def laplace(x: Tensor) -> Tensor:
    """Cumulative normal with mean √½ and deviation √(1/4π) (Mega, arXiv:2209.10655)."""
    return 0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))


@ACTIVATIONS.register("linear")
def linear(x: Tensor) -> Tensor:
    """x."""
    return x


_FUNCTIONS: dict[str, Activation] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
    "leakyrelu": F.leaky_relu,
}
for _name, _function in _FUNCTIONS.items():
    ACTIVATIONS.add(_name, _function)

IN_PLACE: dict[Activation, Activation] = {
    gelu: lambda x: torch.ops.aten.gelu_(x),
    gelu_tanh: lambda x: torch.ops.aten.gelu_(x, approximate="tanh"),
    F.relu: F.relu_,
    F.silu: lambda x: F.silu(x, inplace=True),
}
"""The functions that can write over what they are given."""


def activation(name: str | None) -> Activation:
    """The function of that name, in any case; None gives x itself.

    Raises:
        KeyError: no function of that name; the message lists what there is.
    """
    return linear if name is None else ACTIVATIONS[name.lower()]


ACTIVATION = Rule(
    f"an activation function ({listing(ACTIVATIONS)})", lambda name: name is None or name.lower() in ACTIVATIONS
)
"""The rule that a string names a function."""
