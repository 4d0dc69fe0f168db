"""Law 1: without a setup a model is its network, bit for bit, whatever adapters it has or had."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, Stack
from tests.helpers.adapting import KINDS, add_all, add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_same
from tests.helpers.tiny import NAMES, class_named, decoders, tiny_decoder, tiny_model

MODELS = {name: lambda name=name: tiny_model(name) for name in NAMES} | {
    kind: lambda kind=kind: tiny_decoder(kind) for kind in decoders()
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def outputs(model, batch, **call):
    with torch.no_grad():
        return model(**batch, output_hidden_states=True, **call)


def test_adapters_that_are_not_active_change_nothing(model):
    batch = batch_for(model)
    bare = outputs(model, batch)
    add_all(model)
    assert_same(outputs(model, batch), bare)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", NAMES)
def test_what_was_active_leaves_no_trace(architecture, kind):
    model = tiny_model(architecture)
    batch = batch_for(model)
    bare = outputs(model, batch)
    add_random(model, kind)
    model.set_active_adapters(kind)
    active = outputs(model, batch)
    assert not torch.equal(active.last_hidden_state, bare.last_hidden_state)
    model.set_active_adapters(None)
    assert_same(outputs(model, batch), bare)
    model.set_active_adapters(kind)
    model.delete_adapter(kind)
    assert model.active_adapters is None
    assert_same(outputs(model, batch), bare)


@pytest.mark.parametrize("empty", [None, [], Stack()])
def test_an_empty_setup_silences_what_is_active(model, empty):
    batch = batch_for(model)
    bare = outputs(model, batch)
    add_random(model, "lora")
    model.set_active_adapters("lora")
    assert not torch.equal(outputs(model, batch)[0], bare[0])
    with AdapterSetup(empty):
        assert_same(outputs(model, batch), bare)


def test_rows_without_a_name_get_the_bare_model(model):
    batch = batch_for(model)
    bare = outputs(model, batch)
    add_random(model, "lora")
    model.set_active_adapters("lora")
    assert_same(outputs(model, batch, adapter_names=[None] * 4), bare)


@pytest.mark.parametrize("architecture", NAMES)
def test_the_flexible_model_without_a_head_is_the_bare_model(architecture):
    model = tiny_model(architecture)
    bare = class_named(architecture, "Model")(model.config)
    bare.base.load_state_dict(model.base.state_dict())
    batch = batch_for(model)
    assert_same(outputs(model, batch), outputs(bare, batch))
