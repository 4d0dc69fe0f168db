"""Law 2: a stack of one is that one, and stacks in stacks are one stack, bit for bit."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, Stack, parse_composition
from tests.helpers.adapting import KINDS, add_all
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_same
from tests.helpers.tiny import DISTINCT, tiny_model


@pytest.fixture(scope="module", params=DISTINCT)
def subject(request):
    torch.manual_seed(0)
    model = add_all(tiny_model(request.param))
    return model, batch_for(model)


def run(subject, setup):
    model, batch = subject
    with torch.no_grad(), AdapterSetup(setup):
        return model(**batch, output_hidden_states=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_of_one_is_that_one(subject, kind):
    alone = run(subject, kind)
    for setup in (Stack(kind), [kind], Stack(Stack(kind)), Stack(kind, Stack()), Stack(Stack(), Stack(kind))):
        assert_same(run(subject, setup), alone)


@pytest.mark.parametrize("kind", KINDS)
def test_stacks_in_stacks_are_one_stack(subject, kind):
    flat = run(subject, Stack("seq_bn", kind, "lora"))
    for setup in (Stack(Stack("seq_bn", kind), "lora"), Stack("seq_bn", Stack(kind, Stack("lora")))):
        assert_same(run(subject, setup), flat)
    with pytest.raises(AssertionError, match="other bits"):  # or the comparison would say nothing
        assert_same(run(subject, Stack("lora", "seq_bn")), flat)


def test_what_users_write_is_one_block():
    written = ["a", ["a"], ("a",), Stack("a")]
    assert {parse_composition(setup) for setup in written} == {Stack("a")}
    assert parse_composition(None) is None
