"""Law 3: a row of a batch whose rows have different adapters is the row run alone with its adapter."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterzoo import BatchSplit, Stack
from tests.helpers.adapting import KINDS, add_all, add_random
from tests.helpers.alone import Alone, by_name, names_by_row
from tests.helpers.batches import batch_for
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

PAIRS = list(combinations_with_replacement(KINDS, 2))
PLACES = [
    (architecture, *pair)
    for number, architecture in enumerate(DISTINCT)
    for place, pair in enumerate(PAIRS)
    if (pair[0] == pair[1] and (place + number) % 3 == 0) or place % len(DISTINCT) == number
]
"""Twins of each kind on a third of the architectures whose mathematics is its own; of two different kinds each pair on
one of these."""

ROWS = 4


def alone(model, **call) -> Alone:
    add_all(model)
    for kind in KINDS:  # a second adapter of each kind, with other weights
        add_random(model, f"{kind}'s twin", model.adapters[kind].config)
    return Alone(model, batch_for(model, rows=ROWS), **call)


@pytest.fixture(scope="module", params=DISTINCT)
def rows(request) -> Alone:
    torch.manual_seed(0)
    return alone(tiny_model(request.param))


@pytest.fixture(scope="module", params=[kind for kind in decoders(DISTINCT) if kind not in DISTINCT])
def decoder_rows(request) -> Alone:
    torch.manual_seed(0)
    return alone(tiny_decoder(request.param))


@pytest.mark.parametrize(
    ("rows", "first", "second"),
    [
        pytest.param(*place, id="-".join(place), marks=[pytest.mark.slow] * (number % 2))
        for number, place in enumerate(PLACES)
    ],
    indirect=["rows"],
    scope="module",
)
def test_any_two_methods_share_a_batch(rows, first, second):
    second = second if second != first else f"{first}'s twin"
    names = [second, first, None, first]
    with torch.no_grad():
        rows.check(rows.model(**rows.batch, adapter_names=names), by_name(names))
    split = BatchSplit(first, second, batch_sizes=[1, 3])
    rows.check(rows.run(split), by_name([first, second, second, second]))


def test_adapters_that_read_through_a_layer_norm_read_the_one_of_their_rows(rows):
    norms = BatchSplit("ln_tuning", "bitfit", batch_sizes=[1, 3])
    setup = Stack(norms, BatchSplit("seq_bn", Stack("bn_final", "compacter++"), batch_sizes=[2, 2]))
    rows.check(rows.run(setup), names_by_row(setup, ROWS))


@settings(max_examples=15)
@given(names=st.lists(st.sampled_from([None, *KINDS]), min_size=ROWS, max_size=ROWS))
def test_any_names_in_any_order(rows, names):
    with torch.no_grad():
        rows.check(rows.model(**rows.batch, adapter_names=names), by_name(names))


@settings(max_examples=15)
@given(names=st.lists(st.sampled_from([None, *KINDS]), min_size=ROWS, max_size=ROWS))
def test_any_names_in_a_decoder(decoder_rows, names):
    with torch.no_grad():
        decoder_rows.check(decoder_rows.model(**decoder_rows.batch, adapter_names=names), by_name(names))


@settings(max_examples=10)
@given(names=st.permutations([None, "prefix_tuning", "prefix_longer", "lora"]), padding_free=st.booleans())
@pytest.mark.parametrize("architecture", DISTINCT)
def test_hidden_states_and_attentions_come_back_in_the_callers_order(architecture, names, padding_free):
    torch.manual_seed(0)
    model = tiny_model(architecture)
    for kind in names:
        if kind is not None:
            add_random(model, kind)
    model.padding_free = padding_free
    watched = Alone(model, batch_for(model), output_hidden_states=True, output_attentions=True)
    with torch.no_grad():
        watched.check(model(**watched.batch, **watched.call, adapter_names=names), by_name(names))


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_decoder_without_its_own_input_shares_rows_too(architecture):
    model = tiny_model(architecture)
    rows = Alone(add_all(model), batch_for(model, decoder=False))
    names = ["lora_all", None, "prefix_longer", "lora_all"]
    with torch.no_grad():
        rows.check(model(**rows.batch, adapter_names=names), by_name(names))
