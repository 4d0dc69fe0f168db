"""Comparisons of outputs and gradients: within 1e-5, as promised, or where models are of doubles, far within."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Doubles show what is only rounding: with them, what is equal in theory is nearly so."""


def assert_close(actual: Tensor, expected: Tensor, what: str = "") -> None:
    """Two tensors of one shape and dtype agree within the tolerance, of the largest number where that is above 1."""
    within = TOLERANCE[expected.dtype]
    largest = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=within, atol=within * largest, msg=lambda m: f"{what}: {m}")


def assert_same(actual: Any, expected: Any) -> None:
    """Two outputs have the same fields with the same bits."""
    first, second = leaves(actual), leaves(expected)
    assert list(first) == list(second)
    wrong = [name for name in first if not torch.equal(first[name], second[name])]
    assert not wrong, f"other bits in {wrong}"


def leaves(output: Any, name: str = "") -> dict[str, Tensor]:
    """Every tensor of an output, by field and number."""
    if isinstance(output, Tensor):
        return {name: output}
    if isinstance(output, tuple):
        found = {f"{name}.{number}": part for number, part in enumerate(output)}
    else:
        found = {key: output[key] for key in output.keys()}  # noqa: SIM118 - an output is no dict
    return {key: leaf for path, part in found.items() for key, leaf in leaves(part, path).items()}


def assert_gradients(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Gradients of the same names agree within the tolerance times the largest of them all."""
    assert list(actual) == list(expected)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    assert largest > 0, "every gradient is zero"
    for name, grad in expected.items():
        difference = float((actual[name] - grad).abs().max())
        assert difference <= TOLERANCE[grad.dtype] * largest, f"{name}: {difference} of {largest}"


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    """The gradients that there are, by parameter; they are taken away from the module."""
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def crop(batch: Tensor, row: int, like: Tensor) -> Tensor:
    """A row of a batch's tensor, cut to the shape of the same row run alone."""
    cut = batch[row : row + 1]
    for dim in range(1, like.dim()):
        cut = cut.narrow(dim, 0, like.size(dim))
    return cut
