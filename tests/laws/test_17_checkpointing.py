"""Law 17: with gradient checkpointing, layers are computed again in the backward pass, and gradients are the same."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Stack
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random, presets
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_gradients, assert_same, gradients
from tests.helpers.cube import COMPOSITIONS, Bench, compositions
from tests.helpers.heads import add_head, head_types, labels_for, model_for, shaped
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, decoders, tiny_config, tiny_decoder, tiny_model

MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}
HEADS = [(name, kind) for name in DISTINCT for kind in head_types(tiny_model(name))]
every_model = pytest.mark.parametrize("model_kind", MODELS)
every_architecture = pytest.mark.parametrize("architecture", DISTINCT)


def slopes(model, batch, checkpointing, **call):
    """The gradients of a loss over the last hidden states, or of the head's loss."""
    if checkpointing:
        model.gradient_checkpointing_enable()
    else:
        model.gradient_checkpointing_disable()
    torch.manual_seed(7)
    output = model(**batch, **call)
    loss = output.loss if output.get("loss") is not None else output[0].square().mean()
    loss.backward()
    return gradients(model)


def check(model, batch, **call):
    assert_gradients(slopes(model, batch, True, **call), slopes(model, batch, False, **call))


@pytest.mark.parametrize("kind", presets())
@every_model
def test_gradients_of_every_method_and_of_the_network(model_kind, kind):
    model = MODELS[model_kind](model_kind).train()
    add_random(model, kind)
    model.set_active_adapters(kind)
    check(model, batch_for(model))


@every_model
def test_gradients_of_adapters_on_a_frozen_network(model_kind):
    model = add_all(MODELS[model_kind](model_kind))
    model.train_adapter(Stack(*KINDS))
    batch = batch_for(model, rows=len(KINDS))
    check(model, batch, adapter_names=KINDS)
    found = slopes(model, batch, True, adapter_names=KINDS)
    assert found.keys() == {name for name, _ in model.named_parameters() if name.startswith("adapters.")}


@lru_cache(maxsize=1)
def bench(architecture):
    return Bench(architecture)


@pytest.mark.parametrize("method", ["lora", "double_seq_bn", "prefix_tuning", "loreft"])
@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("architecture", ["bert", "mbart", "deberta"])
def test_gradients_under_every_composition(architecture, composition, method):
    place = bench(architecture)
    place.take(method)
    if place.activate(composition) is not None:
        pytest.skip(f"{composition} has no meaning for {method}")
    check(place.model.train(), place.batch, **compositions()[composition].call)


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_gradients_of_every_heads_loss(architecture, kind):
    model = model_for(kind, architecture).train()
    add_head(model, kind, "head")
    batch = shaped(kind, batch_for(model, decoder=False))
    check(model, {**batch, **labels_for(model, kind, batch)})


@every_architecture
def test_what_is_drawn_by_chance_is_drawn_the_same_again(architecture):
    chances = [field for field in tiny_config(architecture).defaults if "drop" in field]
    model = tiny_model(architecture, **dict.fromkeys(chances, 0.3)).train()
    for name, config in {"a": "lora[dropout=0.3]", "b": "seq_bn[dropout=0.3]"}.items():
        add_random(model, name, config)
    model.set_active_adapters(Stack("a", "b"))
    check(model, batch_for(model))


SETUPS = {
    "a stack": Stack("lora", "seq_bn", "prefix_tuning"),
    "a split": BatchSplit("lora", Stack("prefix_tuning", "par_bn"), "seq_bn", batch_sizes=[1, 2, 1]),
}


@pytest.mark.parametrize("setup", SETUPS)
@every_architecture
def test_a_setup_may_be_over_before_the_backward_pass(architecture, setup):
    model = add_all(tiny_model(architecture).train())
    model.set_active_adapters(SETUPS[setup])
    batch = batch_for(model)
    expected = slopes(model, batch, False)
    model.set_active_adapters(None)
    model.gradient_checkpointing_enable()
    with AdapterSetup(SETUPS[setup]):
        output = model(**batch)
    model.set_active_adapters("lora")  # what is active by then is none of its business
    output[0].square().mean().backward()
    assert_gradients(gradients(model), expected)


@pytest.mark.parametrize("padding_free", [True, False])
@every_architecture
def test_outputs_are_the_same_bit_for_bit(architecture, padding_free):
    model = tiny_model(architecture).train()
    model.padding_free = padding_free
    batch = {**batch_for(model), "output_hidden_states": True, "output_attentions": True}
    expected = model(**batch)
    model.gradient_checkpointing_enable()
    assert_same(model(**batch), expected)
    with torch.no_grad():
        assert_same(model(**batch), expected)


def runs(model, batch):
    """How often each layer runs in a forward and a backward pass."""
    counts = {}
    layers = {
        f"{stack}.{n}": layer
        for stack in model.base.config.stacks()
        for n, layer in enumerate(getattr(model.base, stack))
    }

    def count(name):
        return lambda *_: counts.update({name: counts.get(name, 0) + 1})

    hooks = [layer.register_forward_pre_hook(count(name)) for name, layer in layers.items()]
    model(**batch)[0].square().mean().backward()
    for hook in hooks:
        hook.remove()
    assert counts.keys() == layers.keys()
    return set(counts.values())


@every_architecture
def test_every_layer_is_computed_again_and_only_then(architecture):
    model = tiny_model(architecture).train()
    batch = batch_for(model)
    assert runs(model, batch) == {1}
    model.gradient_checkpointing_enable()
    assert runs(model, batch) == {2}
    model.gradient_checkpointing_disable()
    assert runs(model, batch) == {1}


def kept_bytes(model, batch):
    """How much a forward pass keeps for the backward pass, weights aside."""
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(**batch)
    del output
    return sum(kept.values())


@every_architecture
def test_less_is_kept_for_the_backward_pass(architecture):
    layers = {field: 6 for field in tiny_config(architecture).sizes if "layers" in field}
    model = tiny_model(architecture, **layers).train()
    add_random(model, "lora", CONFIGS["lora"])
    model.set_active_adapters("lora")
    batch = batch_for(model)
    whole = kept_bytes(model, batch)
    model.gradient_checkpointing_enable()
    assert kept_bytes(model, batch) < whole / 3


def test_it_is_asked_for_as_transformers_users_do():
    model = tiny_model(DISTINCT[0])
    assert not model.is_gradient_checkpointing
    with refuses(ValueError, "use_reentrant=False alone", "True", model=model):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    assert not model.is_gradient_checkpointing
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
