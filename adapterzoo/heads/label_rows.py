"""Which rows of a label belong to which head, where each head has its own run of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapterzoo.heads.arguments import entry, is_for_each
from adapterzoo.heads.base import PredictionHead


@dataclass(frozen=True)
class Rows:
    """Runs of rows, one after the other.

    Attributes:
        numbers: each row's number in the caller's batch, in the order of the runs; a number may be there again.
        sizes: how many rows each run has.
    """

    numbers: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def batch(self) -> int:
        """How many rows the caller's batch has."""
        return len(set(self.numbers))

    def run(self, number: int) -> tuple[int, ...]:
        """The rows of one run, by their numbers in the caller's batch."""
        first = sum(self.sizes[:number])
        return self.numbers[first : first + self.sizes[number]]

    def of(self, labels: Mapping[str, Any], heads: Sequence[PredictionHead | None], number: int) -> dict[str, Any]:
        """One run's labels, of those for all heads or of an entry for its own.

        Raises:
            ValueError: labels have other rows.
        """
        found = {}
        for name, value in labels.items():
            if is_for_each(value, heads):
                found[name] = self._of_entry(name, value, heads, number)
            else:
                found[name] = self.of_all(name, value, number)
        return {name: value for name, value in found.items() if value is not None}

    def of_all(self, name: str, value: Any, number: int) -> Any:
        """One run's rows of a tensor that has them all: in the order of the runs, or of the caller's batch."""
        if not isinstance(value, Tensor) or not value.dim():
            return value
        if value.size(0) == len(self.numbers):
            first = sum(self.sizes[:number])
            return value[first : first + self.sizes[number]]
        if value.size(0) == self.batch:
            return _picked(value, self.run(number))
        raise ValueError(f"{name} has {value.size(0)} rows, but the batch has {self.batch}")

    def _of_entry(self, name: str, value: Any, heads: Sequence[PredictionHead | None], number: int) -> Any:
        """One run's rows of its head's entry, which has those of the whole batch or just the head's."""
        own = entry(value, heads, number)
        if not isinstance(own, Tensor) or not own.dim():
            return own
        head, same = heads[number], [number]
        if isinstance(value, Mapping):  # one entry for all runs of the head
            same = [other for other, there in enumerate(heads) if there is head]
        if own.size(0) == self.batch:
            return _picked(own, self.run(number))
        mine = sorted({row for other in same for row in self.run(other)})
        if own.size(0) != len(mine):
            raise ValueError(
                f"{name} for head {head.name if head else None!r} has {own.size(0)} rows, but of the batch's "
                f"{self.batch} rows the head has {len(mine)}; give labels for either"
            )
        place = {row: at for at, row in enumerate(mine)}
        return _picked(own, [place[row] for row in self.run(number)])


def _picked(value: Tensor, rows: Sequence[int]) -> Tensor:
    return value.index_select(0, torch.tensor(rows, device=value.device))
