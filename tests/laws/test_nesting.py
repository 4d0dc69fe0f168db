"""Any nesting of all blocks, over adapters of any kind: rows do not meet, packed is padded, each adapter learns."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from adapterzoo import AdapterSetup, Average, BatchSplit, MultiTask, Parallel, Split, Stack
from adapterzoo.core.compose import blocks_in, copies, names_in
from tests.helpers.adapting import KINDS, add_all
from tests.helpers.batches import batch_for, rows_of, unmasked
from tests.helpers.comparing import assert_close
from tests.helpers.compositions import in_copies, nestings, of_row
from tests.helpers.tiny import DISTINCT, tiny_model

ROWS, LENGTH = 4, 6
TASKS = [1, 0, 0, 1]
SAMPLE = [name for name in ("bert", "bart", "mbart", "distilbert") if name in DISTINCT]
ANY = st.booleans().flatmap(lambda tasked: nestings(KINDS, ROWS, LENGTH, tasked=tasked))
LATE = Split("bitfit", MultiTask("seq_bn", "seq_bn"), splits=[LENGTH - 1, 1])
"""Whose last column some of the tasks have no token in."""
COPIES = in_copies(nestings(KINDS, ROWS, LENGTH, depth=2, tasked=True))


class Nested:
    """A model with an adapter of every kind, and a batch whose rows are as long in both stacks."""

    def __init__(self, architecture):
        torch.manual_seed(0)
        self.model = add_all(tiny_model(architecture)).double()
        self.batch = batch_for(self.model, rows=ROWS, length=LENGTH)
        if "decoder_input_ids" in self.batch:
            other = batch_for(self.model, rows=ROWS, length=LENGTH + 1)
            self.batch |= {name: other[name] for name in self.batch if name.startswith("decoder_")}
        self.seen = unmasked(self.model, self.batch, self.model.base.config.last_stack)

    def run(self, setup, batch=None, padding_free=True, tasks=TASKS):
        """The last hidden states under a setup; such as have no meaning with these adapters are not looked at."""
        self.model.padding_free = padding_free
        self.accept(setup)
        call = {"task_ids": tasks} if any(isinstance(block, MultiTask) for block in blocks_in(setup)) else {}
        with AdapterSetup(setup):
            return self.model(**(batch or self.batch), **call)[0]

    def accept(self, setup):
        """Go on with a setup that is not refused; one that is, is so for a reason of its adapters."""
        try:
            self.model.set_active_adapters(setup)
        except ValueError as error:
            reasons = ("adds a prompt", "a prompt is seen", "the same positions", "no function inverts", "add up to 0")
            assert any(reason in str(error) for reason in reasons), error
            assume(False)


@pytest.fixture(scope="module", params=SAMPLE)
def nested(request):
    return Nested(request.param)


def block(setup):
    return Stack(setup) if isinstance(setup, str) else setup


@settings(max_examples=40)
@given(setup=ANY.map(block), padding_free=st.booleans())
@example(setup=LATE, padding_free=True)
@torch.no_grad()
def test_each_row_is_as_alone(nested, setup, padding_free):
    found = nested.run(setup, padding_free=padding_free)
    for row in range(ROWS):
        alone = nested.run(block(of_row(setup, row, ROWS, TASKS[row])), rows_of(nested.batch, [row]))
        assert_close(found[row][nested.seen[row]], alone[0][nested.seen[row]], f"row {row} of {setup}")


@settings(max_examples=25)
@given(setup=COPIES)
@torch.no_grad()
def test_each_row_of_each_copy_is_as_alone(nested, setup):
    found, times = nested.run(setup), copies(setup)
    for number in range(times * ROWS):
        row = number % ROWS
        alone = nested.run(block(of_row(setup, number, times * ROWS, TASKS[row])), rows_of(nested.batch, [row]))
        assert_close(found[number][nested.seen[row]], alone[0][nested.seen[row]], f"row {number} of {setup}")


@settings(max_examples=25)
@given(setup=ANY.map(block))
@example(setup=LATE)
@torch.no_grad()
def test_packed_is_padded(nested, setup):
    packed, padded = (nested.run(setup, padding_free=one) for one in (True, False))
    assert_close(packed[nested.seen], padded[nested.seen])


@settings(max_examples=25)
@given(setup=ANY.map(block))
@example(setup=LATE)
def test_each_adapter_that_acts_on_a_token_learns(nested, setup):
    nested.model.zero_grad()
    shown = torch.randn(1, 1, nested.model.base.config.last.width, dtype=torch.float64)
    (nested.run(setup) * shown)[nested.seen].sum().backward()
    acting = {name for row in range(ROWS) for name in names_in(reached(of_row(setup, row, ROWS, TASKS[row])))}
    for name in acting:
        slopes = [p.grad for p in nested.model.adapters[name].parameters() if p.grad is not None]
        assert slopes and any(bool(slope.abs().max() > 0) for slope in slopes), name


def reached(node):
    """A composition of one row without children of no columns; rows have tokens in the first two at the least."""
    if isinstance(node, str):
        return node
    children = list(node.children)
    if isinstance(node, Split):
        ends = [sum(node.splits[:number]) for number in range(len(children))]
        children = [c for c, size, at in zip(children, node.splits, ends, strict=True) if size and at < 2]
    return Stack(*map(reached, children))


def test_there_is_no_limit_of_depth(nested):
    setup = Stack("seq_bn")
    for number in range(40):
        kinds = [Stack, Average, partial(Split, splits=LENGTH), partial(BatchSplit, batch_sizes=ROWS)]
        setup = kinds[number % 4](setup)
    setup = Parallel(Parallel(Stack(setup)))
    with torch.no_grad():
        assert_close(nested.run(setup)[nested.seen], nested.run(Stack("seq_bn"))[nested.seen])
