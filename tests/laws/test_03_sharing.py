"""Parallel shares the layers below the first in which anything acts: they see the batch once, all else stays."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch

from adapterzoo import Parallel, Stack
from adapterzoo.core.sites import OUTSIDE
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_gradients, gradients, leaves
from tests.helpers.heads import add_head, head_types, labels_for, model_for, shaped
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

KINDS = ("seq_bn", "lora", "prefix_tuning")
MODELS = {**dict.fromkeys(DISTINCT, tiny_model), **dict.fromkeys(decoders(DISTINCT), tiny_decoder)}
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}
HEADS = [(name, kind) for name in DISTINCT for kind in head_types(tiny_model(name))]


def make(name, left_out, build=None):
    """A model, of `MODELS` unless something else builds it, with adapters that leave out layers."""
    torch.manual_seed(0)
    model = (build or MODELS[name])(name)
    for number, kind in enumerate(KINDS):
        add_random(model, "abc"[number], CONFIGS[kind].replace(leave_out=tuple(left_out)))
    return model.double()


def doubles(batch):
    return {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}


def unshared(model, setup):
    """Make a setup active and its plan one that repeats the batch before all layers."""
    model.set_active_adapters(setup)
    plan = model.adapters.plan(model.active_adapters, model.base)
    shared = dict(plan.bottoms)
    plan.bottoms = dict.fromkeys(shared, OUTSIDE)
    return plan, shared


def both_ways(model, setup, run):
    """What `run` gives without and with sharing."""
    plan, shared = unshared(model, setup)
    expected = run()
    plan.bottoms = shared
    return expected, run()


@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("name", MODELS)
def test_all_that_comes_out_is_the_same_wherever_the_first_adapter_acts(name, padding_free):
    layers = range(MODELS[name](name).base.config.layers)
    for count in range(len(layers)):
        model = make(name, layers[:count])
        model.padding_free = padding_free
        call = {**doubles(batch_for(model)), **EVERYTHING}
        with torch.no_grad():
            expected, found = both_ways(model, Parallel("a", Stack("b", "c"), "c"), partial(model, **call))
        assert list(leaves(found)) == list(leaves(expected))
        for field, tensor in leaves(expected).items():
            assert_close(leaves(found)[field], tensor, f"{count}: {field}")


@pytest.mark.parametrize("name", MODELS)
def test_layers_below_see_the_batch_once(name):
    layers = range(MODELS[name](name).base.config.layers)
    for count in range(len(layers)):
        model = make(name, layers[:count])
        model.padding_free = False
        batch = doubles(batch_for(model, rows=3))
        model.set_active_adapters(Parallel("a", "b"))
        encoder = len(model.base.encoder) if len(model.base.config.stacks()) == 2 else 0
        touched = encoder and count < encoder
        seen, number = {}, 0
        for stack in model.base.config.stacks():
            for layer in getattr(model.base, stack):
                layer.register_forward_pre_hook(lambda _, args, n=number, seen=seen: seen.update({n: len(args[0])}))
                number += 1
        with torch.no_grad():
            model(**batch)
        wanted = {n: 3 if n < count and not (touched and n >= encoder) else 6 for n in layers}
        assert seen == wanted


@pytest.mark.parametrize("name", DISTINCT)
def test_where_nothing_acts_in_any_layer_the_output_is_repeated(name):
    model = make(name, [])
    batch = batch_for(model)
    with torch.no_grad():
        model.set_active_adapters(None)
        bare = model(**batch)[0]
        model.set_active_adapters(Parallel("a", "b"), skip_layers=range(model.base.config.layers))
        assert_close(model(**batch)[0], torch.cat([bare, bare]))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plainly", "checkpointed"])
@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_losses_and_gradients_of_every_head_are_the_same(architecture, kind, checkpointing):
    layers = range(tiny_model(architecture).base.config.layers)
    model = make(architecture, layers[: len(layers) // 2], partial(model_for, kind))
    for name in "ab":
        add_head(model, kind, name)
    model.double().train()
    batch = shaped(kind, batch_for(model, decoder=False))
    labels = labels_for(model, kind, batch)
    if checkpointing:
        model.gradient_checkpointing_enable()
    losses, slopes = [], []

    def run():
        output = model(**batch, **labels)
        loss = output.loss if output.loss is not None else sum(part[0].square().mean() for part in output)
        loss.backward()
        losses.append(loss)
        slopes.append(gradients(model))

    both_ways(model, Parallel("a", "b"), run)
    assert_close(losses[1], losses[0])
    assert_gradients(slopes[1], slopes[0])


@pytest.mark.parametrize("name", [kind for kind in MODELS if MODELS[kind](kind).base.config.last.causal])
def test_with_keys_and_values_kept_it_goes_on_as_before(name):
    model = make(name, range(MODELS[name](name).base.config.layers - 1))
    model.set_active_adapters(Parallel("a", "b"))
    batch = doubles(batch_for(model, lengths=[8] * 4))
    own = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
    batch = {key: t for key, t in batch.items() if key in (own, "input_ids", "encoder_hidden_states")}
    with torch.no_grad():
        whole = model(**batch)[0]
        first = model(**{**batch, own: batch[own][:, :5]}, use_cache=True)
        rest = model(**{**batch, own: batch[own][:, 5:]}, past_key_values=first.past_key_values, use_cache=True)
    assert_close(torch.cat([first[0], rest[0]], 1), whole)


@pytest.mark.slow
def test_it_saves_the_time_of_the_layers_that_are_shared():
    model = tiny_model("bert", num_hidden_layers=8, hidden_size=256, intermediate_size=1024)
    names = [f"n{number}" for number in range(6)]
    for name in names:
        model.add_adapter(name, f"seq_bn[leave_out={list(range(7))}]")
    batch = batch_for(model, rows=8, length=24)

    def seconds():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            with torch.no_grad():
                model(**batch)
            times.append(time.perf_counter() - start)
        return min(times)

    plan, shared = unshared(model, Parallel(*names))
    without = seconds()
    plan.bottoms = shared
    assert seconds() < without / 2  # 7 of 8 layers run once in place of 6 times: 13 of 48 layers' work
