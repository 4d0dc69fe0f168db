"""Half precision: autocast and half weights compute what float32 does but for their rounding, in the right dtypes."""

from __future__ import annotations

import copy
from functools import lru_cache

import pytest
import torch

from adapterzoo import Stack
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random, presets
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_gradients, gradients, leaves
from tests.helpers.cube import COMPOSITIONS, Bench, compositions
from tests.helpers.heads import add_head, head_types, labels_for, model_for, shaped
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}
HEADS = [(name, kind) for name in DISTINCT for kind in head_types(tiny_model(name))]
GRADIENTS = 1 / 8  # not so many roundings: where one moves a number over the edge of a ReLU, its slope is another
HALVES = (torch.bfloat16, torch.float16)
every_half = pytest.mark.parametrize("dtype", HALVES, ids=["bfloat16", "float16"])


def each_way(*marks):
    """Parametrise a test over autocast and half weights; float16, which shows least that is new, may be marked."""
    ways = {"autocast": (torch.bfloat16, True), "bfloat16": (torch.bfloat16, False)}
    return pytest.mark.parametrize(
        ("dtype", "autocast"),
        [
            *(pytest.param(*way, id=name) for name, way in ways.items()),
            pytest.param(torch.float16, False, id="float16", marks=marks),
        ],
    )


def assert_near(found, expected, roundings, what=""):
    """The difference's norm is that of so many roundings at most; of numbers that stand for padding there is none."""
    real = expected.abs() < 1e4
    off = float((found.detach().float() - expected.detach())[real].norm() / expected.detach()[real].norm())
    assert off <= roundings, f"{what}: {off}"


def halved(model, batch, dtype):
    """A copy of the model and of the batch, in that dtype."""
    tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in batch.items()}
    return copy.deepcopy(model).to(dtype), tensors


def run(model, batch, dtype, autocast, **call):
    """The model's output in lower precision, and the gradients."""
    if not autocast:
        model, batch = halved(model, batch, dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        output = model(**batch, **call)
    return output, slopes(model, output)


def slopes(model, output):
    loss = output.loss if output.get("loss") is not None else output[0].float().square().mean()
    loss.backward()
    return gradients(model)


def check(model, batch, dtype, autocast, **call):
    """What the model computes in lower precision is what it computes in float32, but for rounding."""
    expected = model(**batch, **call)
    law = slopes(model, expected)
    output, found = run(model, batch, dtype, autocast, **call)
    eps, dtypes = torch.finfo(dtype).eps, {dtype, torch.float32} if autocast else {dtype}
    before = leaves(expected)
    after = leaves(output)
    assert list(after) == list(before)
    assert any(not torch.equal(after[name].float(), before[name]) for name in after), "it computed in float32"
    for name, tensor in after.items():
        assert tensor.dtype in dtypes, name
        assert_near(tensor, before[name], 8 * eps, name)
    assert found.keys() == law.keys()
    assert {grad.dtype for grad in found.values()} == {torch.float32 if autocast else dtype}
    together = (torch.cat([grads[name].flatten().float() for name in law]) for grads in (found, law))
    assert_near(*together, GRADIENTS, "gradients")


@each_way(pytest.mark.slow)
@pytest.mark.parametrize("kind", [None, *presets()])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_every_method(architecture, kind, dtype, autocast):
    model = tiny_model(architecture).train()
    if kind is not None:
        add_random(model, kind)
        model.set_active_adapters(kind)
    check(model, batch_for(model), dtype, autocast)


@each_way(pytest.mark.slow)
@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_every_head(architecture, kind, dtype, autocast):
    model = model_for(kind, architecture).train()
    add_head(model, kind, "head")
    batch = shaped(kind, batch_for(model, decoder=False))
    check(model, {**batch, **labels_for(model, kind, batch)}, dtype, autocast)


METHODS = list(presets())
ONE_METHOD = [(name, METHODS[number * 2 % len(METHODS)]) for number, name in enumerate(DISTINCT)]
ONE_HEAD = {name: [kind for other, kind in HEADS if other == name] for name in DISTINCT}


@pytest.mark.parametrize(("architecture", "kind"), ONE_METHOD)
def test_a_method_of_each_architecture_in_float16(architecture, kind):
    model = tiny_model(architecture).train()
    add_random(model, kind)
    model.set_active_adapters(kind)
    check(model, batch_for(model), torch.float16, False)


@pytest.mark.parametrize(
    ("architecture", "kind"), [(name, kinds[n % len(kinds)]) for n, (name, kinds) in enumerate(ONE_HEAD.items())]
)
def test_a_head_of_each_architecture_in_float16(architecture, kind):
    model = model_for(kind, architecture).train()
    add_head(model, kind, "head")
    batch = shaped(kind, batch_for(model, decoder=False))
    check(model, {**batch, **labels_for(model, kind, batch)}, torch.float16, False)


@lru_cache(maxsize=1)
def bench(architecture):
    return Bench(architecture)


def calm(fusions):
    """Make the scores of fusions as small as they are in practice.

    They are not divided by the width's root. Of large random weights they are in the tens, where one rounding of a
    score decides which adapter is heard, and no bound on the outputs holds.
    """
    for _, fusion in fusions.items():
        for unit in fusion.units.values():
            for part in (unit.query, unit.key):
                part.weight.data.mul_(0.1)  # the deviation is 0.02 then, as at first


@each_way()
@pytest.mark.parametrize("method", ["lora", "double_seq_bn", "loreft"])
@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("architecture", ["bert", "mbart"])
def test_every_composition(architecture, composition, method, dtype, autocast):
    place = bench(architecture)
    place.take(method)
    if place.activate(composition) is not None:
        pytest.skip(f"{composition} has no meaning for {method}")
    calm(place.model.fusions)
    check(place.model.float().train(), place.batch, dtype, autocast, **compositions()[composition].call)


@each_way(pytest.mark.slow)
@pytest.mark.parametrize("model_kind", MODELS)
def test_every_method_in_one_batch_and_all_outputs(model_kind, dtype, autocast):
    model = add_all(MODELS[model_kind](model_kind).train())
    call = {"adapter_names": KINDS, "output_hidden_states": True, "output_attentions": True}
    check(model, batch_for(model, rows=len(KINDS)), dtype, autocast, **call)


@each_way()
@pytest.mark.parametrize("kind", decoders(DISTINCT))
def test_token_by_token(kind, dtype, autocast):
    model = add_all(tiny_decoder(kind))
    model.set_active_adapters(Stack("lora", "prefix_tuning", "par_bn"))
    batch = batch_for(model, lengths=[6, 6], rows=2, length=6)
    name = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
    ids = batch.pop(name)
    batch.pop("decoder_attention_mask" if name != "input_ids" else "attention_mask")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        expected = model(**batch, **{name: ids})[0]
        model, batch = (model, batch) if autocast else halved(model, batch, dtype)
        parts, cache = [], None
        for step in ids.split(2, 1):
            with torch.autocast("cpu", dtype=dtype, enabled=autocast):
                output = model(**batch, **{name: step}, past_key_values=cache, use_cache=True)
            parts.append(output[0])
            cache = output.past_key_values
    assert_near(torch.cat(parts, 1), expected, 8 * torch.finfo(dtype).eps)


@every_half
@pytest.mark.parametrize("architecture", DISTINCT)
def test_what_is_added_to_a_half_model_has_its_dtype(architecture, dtype, tmp_path):
    whole = tiny_model(architecture)
    add_random(whole, "loaded", CONFIGS["lora"])
    kind = head_types(whole)[0]
    add_head(whole, kind, "loaded")
    whole.save_adapter(tmp_path, "loaded")
    model = tiny_model(architecture).to(dtype)
    model.load_adapter(tmp_path)
    for name, config in CONFIGS.items():
        model.add_adapter(name, config)
    for name in head_types(model):
        add_head(model, name, name)
    assert model.dtype == dtype
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {dtype}
    assert "loaded" in model.heads and "loaded" in model.adapters


@pytest.mark.parametrize("architecture", DISTINCT)
def test_checkpointed_layers_are_computed_again_in_the_same_precision(architecture):
    model = add_all(tiny_model(architecture).train())
    model.set_active_adapters(Stack("lora", "prefix_tuning", "seq_bn"))
    batch = batch_for(model)
    _, expected = run(model, batch, torch.bfloat16, True)
    model.gradient_checkpointing_enable()
    _, found = run(model, batch, torch.bfloat16, True)
    assert_gradients(found, expected)
