"""Beside law 8: plans are kept, but never beyond what they were made of; a copy of a model is a model of its own."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Stack
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random, randomise, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_same
from tests.helpers.tiny import DISTINCT, tiny_model

SETUPS = [Stack("mine"), Stack("lora", "mine"), BatchSplit("mine", "lora", batch_sizes=[1, 3])]


@pytest.fixture(params=DISTINCT)
def model(request):
    model = add_all(tiny_model(request.param))
    add_random(model, "mine", CONFIGS["seq_bn"])
    return model


def outputs(model, batch):
    """What the model gives under every setup, and by row."""
    found = []
    with torch.no_grad():
        for setup in SETUPS:
            with AdapterSetup(setup):
                found.append(model(**batch))
        return (*found, model(**batch, adapter_names=[None, "mine", "lora", "mine"]), model(**batch))


def changed(model, batch, before):
    """Asserts that every output is another than before."""
    after = outputs(model, batch)
    for now, then in zip(after, before, strict=True):
        assert not torch.equal(now.last_hidden_state, then.last_hidden_state)
    return after


def test_what_replaces_an_adapter_acts_at_once(model, tmp_path):
    batch = batch_for(model)
    model.set_active_adapters("mine")
    first = outputs(model, batch)
    model.save_adapter(tmp_path, "mine")
    model.add_adapter("mine", CONFIGS["prefix_longer"], overwrite_ok=True)
    second = changed(model, batch, first)
    randomise(model.adapters["mine"])
    changed(model, batch, second)
    model.load_adapter(tmp_path)
    assert_same(outputs(model, batch), first)


def test_a_deleted_adapter_is_unknown_in_every_setup(model):
    batch = batch_for(model)
    outputs(model, batch)
    model.delete_adapter("mine")
    for setup in SETUPS:
        with AdapterSetup(setup), pytest.raises(KeyError, match="no adapter named 'mine'"):
            model(**batch)
        with pytest.raises(KeyError, match="no adapter named 'mine'"):
            model.set_active_adapters(setup)
    with pytest.raises(KeyError, match="no adapter named 'mine'"):
        model(**batch, adapter_names=["mine"] * 4)


def test_a_deleted_adapter_is_let_go(model):
    batch = batch_for(model)
    outputs(model, batch)
    gone = weakref.ref(model.adapters["mine"])
    model.delete_adapter("mine")
    gc.collect()
    assert gone() is None


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_shares_nothing(model, copied):
    batch = batch_for(model)
    model.set_active_adapters(Stack("mine", "prefix_tuning"))
    first = outputs(model, batch)
    other = copied(model)
    assert same_bits(tensors_of(other), tensors_of(model))
    assert_same(outputs(other, batch), first)
    assert other.config.adapters is other.adapters
    for name in KINDS:
        randomise(other.adapters[name])
    randomise(other.adapters["mine"])
    changed(other, batch, first)
    assert_same(outputs(model, batch), first)


def test_a_setup_is_compiled_once(model):
    batch = batch_for(model)
    outputs(model, batch)
    plans = dict(model.adapters._plans)
    outputs(model, batch)
    assert model.adapters._plans == plans
    assert {plan.setup for plan in plans.values()} >= set(SETUPS)
