"""The cube of architectures, methods and compositions: what each cell must do, and whether it does.

A cell is a method under a composition on an architecture. Each row of a batch must come out as it does alone, without
padding, under the setup that is its part of the composition; so must the adapters' gradients, summed over rows; and
another model that loads what was saved must compute the same bits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo import AdapterSetup
from adapterzoo.core.compose import Average, BatchSplit, Fuse, MultiTask, Parallel, Setup, Split, Stack
from tests.helpers.adapting import add_random, presets
from tests.helpers.batches import Batch, padded, padding_mask, random_ids, row_of
from tests.helpers.comparing import assert_close, assert_gradients, assert_same, crop, gradients
from tests.helpers.tiny import NAMES, randomise, tiny_config, tiny_model

LENGTHS = [6, 4, 3, 5]
"""Each row's length; the first is the batch's."""
ROWS, LENGTH, CUT = len(LENGTHS), LENGTHS[0], 4
A, B, LORA, BOTTLENECK = "a", "b", "its lora", "its bottleneck"


class Case(NamedTuple):
    """A composition of the adapters A and B, twins of one method with other weights, and of two partners.

    Attributes:
        setup: the composition; None where `call` says it all.
        alone: the setup that each row has alone, for each time that the batch is answered.
        call: more arguments of the call.
    """

    setup: Setup
    alone: Callable[[int], list[Setup]]
    call: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


def _of(*setups: Setup) -> Callable[[int], list[Setup]]:
    """Row i has setups[i]."""
    return lambda row: [setups[row]]


def _same(setup: Setup) -> Callable[[int], list[Setup]]:
    return lambda row: [setup]


def _split(row: int) -> list[Setup]:
    first = min(CUT, LENGTHS[row])
    return [Split(A, B, splits=[first, LENGTHS[row] - first])]


def compositions() -> dict[str, Case]:
    """The compositions by name."""
    weights = [0.3, 0.7]
    nested = Stack(
        LORA, BatchSplit(Average(A, B, weights=weights), Stack(B, BOTTLENECK), Stack(), batch_sizes=[1, 2, 1])
    )
    parts = (Stack(LORA, Average(A, B, weights=weights)), *[Stack(LORA, B, BOTTLENECK)] * 2, Stack(LORA))
    return {
        "alone": Case(A, _same(A)),
        "Stack": Case(Stack(A, B), _same(Stack(A, B))),
        "BatchSplit": Case(BatchSplit(A, B, batch_sizes=[3, 1]), _of(A, A, A, B)),
        "by row": Case(None, _of(B, None, A, B), {"adapter_names": [B, None, A, B]}),
        "MultiTask": Case(MultiTask(A, B), _of(B, A, B, A), {"task_ids": [1, 0, 1, 0]}),
        "Parallel": Case(Parallel(A, B), lambda row: [A, B]),
        "Average": Case(Average(A, B, weights=weights), _same(Average(A, B, weights=weights))),
        "Split": Case(Split(A, B, splits=[CUT, LENGTH - CUT]), _split),
        "Fuse": Case(Fuse(A, B), _same(Fuse(A, B))),
        "nested": Case(nested, _of(*parts)),
    }


COMPOSITIONS = list(compositions())
KINDS = presets()
METHODS = list(KINDS)


class Cell(NamedTuple):
    """One cell's place."""

    architecture: str
    method: str
    composition: str


class Refused(NamedTuple):
    """A cell that has no meaning, and why."""

    reason: str


def batch_of_equal_stacks(model: Any) -> Batch:
    """A batch whose decoder, where there is one, has rows of the encoder's lengths, as Split wants them."""
    mask = padding_mask(LENGTHS, LENGTH)
    batch = {"input_ids": padded(model, random_ids(model, ROWS, LENGTH), mask), "attention_mask": mask}
    if len(model.base.config.stacks()) == 2:
        batch |= {"decoder_input_ids": random_ids(model, ROWS, LENGTH), "decoder_attention_mask": mask}
    return batch


class Bench:
    """One architecture's model with the adapters of one method, and a batch. All in doubles."""

    def __init__(self, architecture: str, one_layer: bool = False) -> None:
        layers = {field: 1 for field in tiny_config(architecture).sizes if "layers" in field} if one_layer else {}
        self.model = tiny_model(architecture, **layers).double()
        self.bare = copy.deepcopy(self.model)
        for name, method in ((LORA, "lora"), (BOTTLENECK, "seq_bn")):
            add_random(self.model, name, KINDS[method])
        self.batch = batch_of_equal_stacks(self.model)
        self.weight = torch.randn(ROWS, LENGTH, self.model.base.config.width, dtype=torch.double)

    def take(self, method: str) -> None:
        """Put the method's twins in place of the last one's."""
        self.model.set_active_adapters(None)
        for fusion in list(self.model.fusions):
            self.model.delete_adapter_fusion(fusion)
        for name in (A, B):
            self.model.add_adapter(name, KINDS[method], overwrite_ok=True)
            randomise(self.model.adapters[name])
        self.model.double()

    def run(self, composition: str, folder: Path) -> Refused | None:
        """Check one cell.

        Args:
            composition: its name.
            folder: an empty folder for files.

        Raises:
            AssertionError: a law is broken.
        """
        refused = self.activate(composition)
        if refused is None:
            self._check_rows(compositions()[composition])
            self._check_files(compositions()[composition], folder)
        return refused

    def activate(self, composition: str) -> Refused | None:
        """Make a composition the active setup, or say why it has no meaning."""
        setup = compositions()[composition].setup
        try:
            if isinstance(setup, Fuse) and setup.name not in self.model.fusions:
                self.model.add_adapter_fusion(setup)
                randomise(self.model.fusions[setup.name])
            self.model.set_active_adapters(setup)
        except ValueError as reason:
            return Refused(str(reason))
        return None

    def _check_rows(self, case: Case) -> None:
        """Forward and backward: the batch against its rows alone."""
        self.model.base.requires_grad_(False)
        found = self.model(**self.batch, **case.call).last_hidden_state
        together = _graded(self.model, found * self._weights(len(found)))
        expected: dict[str, Tensor] = {}
        for row in range(ROWS):
            for copied, setup in enumerate(case.alone(row)):
                with AdapterSetup(setup):
                    alone = self.model(**row_of(self.batch, row)).last_hidden_state
                assert_close(crop(found, copied * ROWS + row, alone), alone, f"row {row} under {setup!r}")
                for name, grad in _graded(self.model, alone * crop(self.weight, row, alone)).items():
                    expected[name] = expected[name] + grad if name in expected else grad
        assert set(together) == set(expected)
        assert_gradients(together, {name: expected[name] for name in together})

    def _weights(self, rows: int) -> Tensor:
        mask = self.batch.get("decoder_attention_mask", self.batch["attention_mask"])
        return (self.weight * mask[..., None]).repeat(rows // ROWS, 1, 1)

    def _check_files(self, case: Case, folder: Path) -> None:
        """What another model loads computes the same bits."""
        other = copy.deepcopy(self.bare)
        if case.setup is None:
            for name in (A, B):
                self.model.save_adapter(folder / name, name)
                other.load_adapter(folder / name)
        else:
            self.model.save_adapter_setup(folder, case.setup)
            loaded, _ = other.load_adapter_setup(folder, set_active=True)
            assert loaded == self.model.active_adapters
        with torch.no_grad():
            assert_same(other(**self.batch, **case.call), self.model(**self.batch, **case.call))


def _graded(model: Any, value: Tensor) -> dict[str, Tensor]:
    if value.requires_grad:  # a row may have no adapter
        value.sum().backward()
    return gradients(model)


def cells(architectures: list[str] = NAMES, methods: list[str] = METHODS) -> Iterator[Cell]:
    """All cells, those of one architecture and one method together."""
    for architecture in architectures:
        for method in methods:
            for composition in COMPOSITIONS:
                yield Cell(architecture, method, composition)
