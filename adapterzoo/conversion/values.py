"""A tensor's values in a few numbers, for which no more than a piece of it need lie in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 1 << 18
"""How many values are looked at at once."""


@dataclass(frozen=True)
class Values:
    """What the values of a tensor come to. Whatever is NaN or infinite is counted, and left out of the rest.

    Attributes:
        count: how many there are.
        nan: how many are NaN.
        inf: how many are infinite.
        low: the least.
        high: the greatest.
        mean: their mean.
        deviation: their standard deviation.
        kurtosis: the mean of their fourth powers over the square of that of their second ones: 3 where they are normal
            about zero.
    """

    count: int
    nan: int
    inf: int
    low: float
    high: float
    mean: float
    deviation: float
    kurtosis: float

    def all(self, value: float) -> bool:
        """Whether there are values, and all are this one."""
        return self.count > 0 and self.nan == self.inf == 0 and self.low == self.high == value


@torch.no_grad()
def values_of(pieces: Iterable[Tensor]) -> Values:
    """The values of a tensor, in double precision.

    Args:
        pieces: the parts that it consists of, of any shape, of numbers with a fraction of any dtype.
    """
    count = nan = inf = 0
    low, high = math.inf, -math.inf
    powers = torch.zeros(3, dtype=torch.float64)
    for piece in (some for part in pieces for some in part.detach().reshape(-1).split(PIECE)):
        found = piece.double()
        count += piece.numel()
        finite = found.isfinite()
        if not bool(finite.all()):
            nan += int(found.isnan().sum())
            inf += int(found.isinf().sum())
            found = found[finite]
        if found.numel():
            low, high = min(low, float(found.min())), max(high, float(found.max()))
            squares = found * found
            powers += torch.stack([found.sum(), squares.sum(), squares.dot(squares)])
    known = max(count - nan - inf, 1)
    mean, second, fourth = (float(power) / known for power in powers)
    deviation = math.sqrt(max(second - mean * mean, 0.0))
    return Values(count, nan, inf, low, high, mean, deviation, fourth / second**2 if second else 0.0)
