"""The comparison of an output, a loss or a gradient of ours with transformers'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from adapterzoo.formats import hf

PROMISE = 1e-5
NOISE = 2e-7  # of the largest gradient of all: what float32 leaves of gradients that are zero in truth


def close(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    """Assert that shapes agree and no number differs by more than the promise."""
    assert ours.shape == theirs.shape, what
    torch.testing.assert_close(ours, theirs, rtol=0, atol=PROMISE, msg=_prefixed(what))


def same_output(ours: Any, theirs: Any, mask: Tensor | None = None, encoder_mask: Tensor | None = None) -> None:
    """Assert that two outputs have the same fields with the same numbers at positions that are not padding.

    Args:
        ours, theirs: outputs that read by key.
        mask: (B, T), 1 at tokens, of the stack that answers; None: no position is padding.
        encoder_mask: (B, S) of the encoder under a decoder.
    """
    assert list(ours.keys()) == list(theirs.keys())
    for name in theirs:
        positions = encoder_mask if name.startswith("encoder") else mask
        _same(name, ours[name], theirs[name], positions)


def _same(name: str, ours: Any, theirs: Any, mask: Tensor | None) -> None:
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple) and len(ours) == len(theirs), name
        for number, both in enumerate(zip(ours, theirs, strict=True)):
            _same(f"{name}[{number}]", *both, mask)
    else:
        close(_real(name, ours, mask), _real(name, theirs, mask), name)


def _real(name: str, value: Tensor, mask: Tensor | None) -> Tensor:
    """The part of a tensor that does not belong to padding."""
    if mask is None:
        return value
    real = mask.bool().flatten(0, -2)
    if value.dim() == 4:  # attention probabilities (B, H, T, S): of queries that are no padding
        return value.transpose(1, 2)[real]
    return value[real] if value.shape[:2] == real.shape else value


def same_tuple(ours: Any, theirs: Any, mask: Tensor | None = None) -> None:
    """Assert the same of two tuples. Theirs has a None where there is no pooler; ours leaves it out."""
    assert isinstance(ours, tuple) and isinstance(theirs, tuple)
    there = tuple(value for value in theirs if value is not None)
    _same("tuple", ours, there, mask)


def matched(ours: Any, theirs: Any) -> Iterator[tuple[str, Tensor, list[Tensor]]]:
    """Each parameter of ours with transformers' parameters that it joins; every parameter of both appears once."""
    there = dict(theirs.named_parameters(remove_duplicate=False))
    left = {id(parameter) for parameter in there.values()}
    for name, parameter in ours.named_parameters():
        parts = [there[part] for part in hf.foreign_names(ours.architecture, ours.static, name)]
        left -= {id(part) for part in parts}
        yield name, parameter, parts
    assert not left, [name for name, parameter in there.items() if id(parameter) in left]


def joined(ours: Any, name: str, parts: list[Tensor]) -> Tensor:
    """Transformers' tensors as the one of ours that they are."""
    order = hf.block_order(ours.architecture, ours.base.config, name)
    named = {str(number): part for number, part in enumerate(parts)}
    return hf.gather(list(named), named, order)


def same_gradients(ours: Any, theirs: Any) -> None:
    """Assert that each parameter's gradient is within the promise of its largest number; none at all counts as 0."""
    pairs = {
        name: (_gradient(parameter), joined(ours, name, [_gradient(part) for part in parts]))
        for name, parameter, parts in matched(ours, theirs)
    }
    largest = {name: wanted.abs().max().item() for name, (_, wanted) in pairs.items()}
    noise = NOISE * max(largest.values())
    assert noise > 0, "no parameter had a gradient"
    for name, (found, wanted) in pairs.items():
        atol = max(PROMISE * largest[name], noise)
        torch.testing.assert_close(found, wanted, rtol=0, atol=atol, msg=_prefixed(f"gradient of {name}"))


def _prefixed(what: str) -> Callable[[str], str]:
    return lambda text: f"{what}: {text}"


def same_weights(ours: Any, theirs: Any) -> None:
    """Assert that each tensor has transformers' bits and dtype."""
    buffers = dict(theirs.named_buffers())
    for name, parameter, parts in matched(ours, theirs):
        _same_bits(name, parameter, joined(ours, name, [*parts]))
    for name, buffer in ours.named_buffers():
        (theirs_name,) = hf.foreign_names(ours.architecture, ours.static, name)
        _same_bits(name, buffer, buffers[theirs_name])


def _same_bits(name: str, ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == theirs.dtype, name
    assert torch.equal(ours, theirs), name


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
