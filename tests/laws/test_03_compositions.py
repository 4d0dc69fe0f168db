"""Law 3, for compositions: in any nesting of stacks and splits a row is the row run alone under its own stack."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterzoo import BatchSplit, Stack
from tests.helpers.adapting import KINDS, add_all
from tests.helpers.alone import Alone, names_by_row
from tests.helpers.batches import batch_for
from tests.helpers.compositions import setups
from tests.helpers.tiny import DISTINCT, tiny_model

ROWS = 4


@pytest.fixture(scope="module", params=DISTINCT)
def rows(request) -> Alone:
    torch.manual_seed(0)
    model = add_all(tiny_model(request.param))
    return Alone(model, batch_for(model, rows=ROWS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_composes_with_the_others(rows, kind):
    for setup in (
        Stack(kind, BatchSplit("lora", "bn_final", "prefix_longer", batch_sizes=[1, 2, 1])),
        Stack(BatchSplit("lora", "prefix_longer", batch_sizes=2), kind),
        BatchSplit(Stack(kind, "double_seq_bn"), Stack("prefix_longer", kind), batch_sizes=[3, 1]),
        BatchSplit(BatchSplit(kind, "lora_all", batch_sizes=1), Stack(), batch_sizes=2),
        BatchSplit("lora", kind, Stack(kind, "lora"), "seq_bn", batch_sizes=[0, 4, 0, 0]),
    ):
        rows.check(rows.run(setup), names_by_row(setup, ROWS))


@settings(max_examples=40)
@given(setup=setups(KINDS, ROWS))
def test_any_composition(rows, setup):
    rows.check(rows.run(setup), names_by_row(setup, ROWS))


@settings(max_examples=10)
@given(setup=setups(KINDS, ROWS), padding_free=st.booleans())
@pytest.mark.parametrize("architecture", DISTINCT)
def test_any_composition_with_hidden_states_and_attentions(architecture, setup, padding_free):
    torch.manual_seed(0)
    model = add_all(tiny_model(architecture))
    model.padding_free = padding_free
    rows = Alone(model, batch_for(model, rows=ROWS), output_hidden_states=True, output_attentions=True)
    rows.check(rows.run(setup), names_by_row(setup, ROWS))


@pytest.mark.parametrize(
    "setup",
    [
        BatchSplit("lora", "seq_bn", batch_sizes=[2, 3]),
        BatchSplit("lora", BatchSplit("seq_bn", "par_bn", batch_sizes=1), batch_sizes=[1, 3]),
        BatchSplit("lora", "seq_bn", batch_sizes=[0, 0]),
    ],
)
def test_sizes_that_do_not_add_up_are_an_error(rows, setup):
    with pytest.raises(ValueError, match="add up to"):
        rows.run(setup)
