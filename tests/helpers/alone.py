"""Rows run alone: the reference for everything that gives rows of one batch different adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adapterzoo import AdapterSetup, Stack
from adapterzoo.core.compose import AdapterCompositionBlock, BatchSplit, Child, RowGroups
from tests.helpers.batches import Batch, row_of
from tests.helpers.comparing import assert_close, crop, leaves

Names = tuple[str, ...]


def names_by_row(setup: Child, rows: int) -> list[Names]:
    """Which adapters act on each row of a batch, one after the other.

    Args:
        setup: a name, or a composition of stacks and splits.
        rows: how many rows the setup sees.
    """
    if isinstance(setup, str):
        return [(setup,)] * rows
    assert not isinstance(setup, RowGroups)
    if isinstance(setup, BatchSplit):
        parts = zip(setup.children, setup.batch_sizes, strict=True)
        return [names for child, size in parts for names in names_by_row(child, size)]
    assert isinstance(setup, Stack), f"no rule says what {setup!r} means for a row"
    by_child = [names_by_row(child, rows) for child in setup.children]
    return [tuple(name for names in parts for name in names) for parts in zip(*by_child, strict=True)] or [()] * rows


class Alone:
    """Single rows of a batch, without padding, under single stacks; each is run once. All in doubles.

    Args:
        model: the model.
        batch: the batch.
        call: more arguments of every call.
    """

    def __init__(self, model: Any, batch: Batch, **call: Any) -> None:
        self.model, self.call = model.double(), call
        self.batch = {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}
        self._known: dict[tuple[Names, int], Any] = {}

    def output(self, names: Names, row: int) -> Any:
        """The model's output for one row under Stack(*names)."""
        if (names, row) not in self._known:
            with AdapterSetup(Stack(*names)), torch.no_grad():
                self._known[names, row] = self.model(**row_of(self.batch, row), **self.call)
        return self._known[names, row]

    def check(self, output: Any, by_row: Sequence[Names]) -> None:
        """A batch's output agrees, row for row, with the rows run alone."""
        found = leaves(output)
        for row, names in enumerate(by_row):
            alone = leaves(self.output(names, row))
            assert list(alone) == list(found)
            for field, expected in alone.items():
                if "attention" in field:
                    own, expected = _seen(found[field][row : row + 1, :, : expected.size(2)]), _seen(expected)
                else:
                    own = crop(found[field], row, expected)
                assert_close(own, expected, f"row {row}, {names}: {field}")

    def run(self, setup: AdapterCompositionBlock) -> Any:
        """The model's output for the whole batch under a setup."""
        with AdapterSetup(setup), torch.no_grad():
            return self.model(**self.batch, **self.call)


def _seen(attention: Tensor) -> Tensor:
    """Attention probabilities (1, H, T, S), prefixes among S, without the columns that are zero throughout.

    In a batch there are columns for other rows' prefixes and for padding, too. What a row gives these must be zero.
    """
    return attention[..., attention.flatten(0, 2).any(0)]


def by_name(names: Sequence[str | None]) -> list[Names]:
    """What `adapter_names` means for each row."""
    return [() if name is None else (name,) for name in names]
