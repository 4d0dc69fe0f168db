"""Two directories tensor by tensor: what is equal, what is not, and what only has another name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo.conversion.facts import dtype_name
from adapterzoo.formats import Content
from adapterzoo.formats.lazy import Lazy

STATES = ("equal", "close", "renamed", "different", "only in the first", "only in the second")
"""What may be said of a tensor; all but the first three are differences."""


class Line(NamedTuple):
    """What is said of one tensor.

    Attributes:
        state: one of STATES.
        first, second: its name in the one and the other; None where it is not there.
        why: in what it differs, in words.
        largest: the largest absolute difference of its numbers, where these can be compared and differ.
    """

    state: str
    first: str | None
    second: str | None
    why: str = ""
    largest: float | None = None

    @property
    def same(self) -> bool:
        """Whether this is no difference."""
        return self.state in STATES[:3]


def differences(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    tolerance: float = 0.0,
    step: Callable[[str], object] = lambda name: None,
) -> list[Line]:
    """Compare two checkpoints by their tensors' names. Two tensors are read at a time.

    A tensor that has no namesake is "renamed" where another one without has its shape, dtype and bits.

    Args:
        first: the one.
        second: the other.
        tolerance: absolute difference of numbers up to which tensors are "close".
        step: is told each name.
    """
    lines = []
    for name in first:
        if name in second:
            step(name)
            lines.append(_compared(name, first[name], second[name], tolerance))
    lost, new = ([name for name in one if name not in other] for one, other in ((first, second), (second, first)))
    by_bits: dict[Any, list[str]] = {}
    for name in new if lost else []:
        by_bits.setdefault(_bits(second[name]), []).append(name)
    for name in lost:
        step(name)
        twins = by_bits.get(_bits(first[name]), []) if new else []
        twin = twins.pop(0) if twins else None
        lines.append(Line("renamed", name, twin) if twin else Line("only in the first", name, None))
    found = {line.second for line in lines}
    return [*lines, *(Line("only in the second", None, name) for name in new if name not in found)]


def flat(content: Content) -> Lazy:
    """The tensors of a directory and of its parts, these with the part's name before theirs."""
    return Lazy(dict(_makers(content, "")))


def _makers(content: Content, stem: str) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    for name in content.tensors:
        yield stem + name, partial(content.tensors.__getitem__, name)
    for part, inner in content.parts.items():
        yield from _makers(inner, f"{stem}{part}: ")


def _compared(name: str, one: Tensor, other: Tensor, tolerance: float) -> Line:
    why = [
        f"{what} {mine} and {yours}"
        for what, mine, yours in (
            ("shape", list(one.shape), list(other.shape)),
            ("dtype", dtype_name(one.dtype), dtype_name(other.dtype)),
        )
        if mine != yours
    ]
    if one.shape != other.shape:
        return Line("different", name, name, ", ".join(why))
    if not why and _bits(one) == _bits(other):
        return Line("equal", name, name)
    mine, yours = one.double(), other.double()
    gap = (mine - yours).abs()
    equal = (mine == yours) | (mine.isnan() & yours.isnan())  # the difference of two infinities is none
    largest = float(gap.masked_fill(equal, 0).max()) if gap.numel() else 0.0
    return Line("close" if largest <= tolerance else "different", name, name, ", ".join(why), largest)


def _bits(tensor: Tensor) -> tuple[str, tuple[int, ...], str]:
    """What two tensors have in common that are equal bit for bit, NaN included."""
    plain = tensor.detach().contiguous().flatten().view(torch.uint8)
    digest = hashlib.sha256(plain.numpy().data).hexdigest()
    return dtype_name(tensor.dtype), tuple(tensor.shape), digest
