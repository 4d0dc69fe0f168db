"""Weights in int8: the formula; every architecture and method beside the same network with rounded float weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from adapterzoo import Stack, is_fast_on_cpu
from adapterzoo.core import cpu
from adapterzoo.nn import int8
from tests.helpers.adapting import CONFIGS, add_random, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_gradients, crop, gradients
from tests.helpers.tiny import DISTINCT, tiny_model

METHODS = ["lora_all", "dora", "double_seq_bn", "prefix_tuning", "ia3", "vera_all", "loreft", "prompt_tuning", "bitfit"]


def rounded_twin(model, whole):
    """The model with floats that are what the other one's int8 stand for."""
    for path, module in whole.base.named_modules():
        if hasattr(module, "int8"):
            weight = module.int8 * module.scale[:, None]
            model.base.get_submodule(path).weight.data = weight
    return model


def pair(architecture, *kinds):
    """A model with int8 weights, and its twin."""
    model = tiny_model(architecture)
    for kind in kinds:
        add_random(model, kind)
    whole = copy.deepcopy(model).quantize_base()
    return whole, rounded_twin(model, whole)


@pytest.fixture
def exact(monkeypatch):
    """Inputs of products are not rounded."""

    def product(x, weight, scale, bias):
        return F.linear(x, weight * scale[:, None], bias)

    monkeypatch.setattr(int8, "_product", product)


@pytest.mark.parametrize("rows", [1, 5, int8.AT_ONCE + 3])
def test_a_product_is_that_of_rounded_rows_and_rounded_weights(rows):
    x, weight, bias = torch.randn(rows, 24) * torch.logspace(-3, 3, rows)[:, None], torch.randn(40, 24), torch.randn(40)
    x[0] = 0
    whole, scale = int8.rounded(weight)
    assert (whole * scale[:, None] - weight).abs().max() <= weight.abs().max() / 254 + 1e-6
    largest = x.double().abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    near = (x.double() / largest).round() * largest
    expected = F.linear(near, whole.double() * scale.double()[:, None], bias.double()).float()
    found = int8.product(x, whole, scale, bias)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert (found[0] == bias).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_product_has_its_inputs_dtype_and_shape(dtype):
    x, (weight, scale), bias = torch.randn(2, 3, 8).to(dtype), int8.rounded(torch.randn(4, 8)), torch.randn(4).to(dtype)
    found = int8.product(x, weight, scale, bias)
    assert found.dtype == dtype and found.shape == (2, 3, 4)
    expected = int8.product(x.float(), weight, scale, bias.float())
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_it_is_the_network_with_rounded_weights(architecture, exact):
    whole, twin = pair(architecture, "lora_all")
    batch = batch_for(whole, 3, 7)
    for setup in (None, "lora_all"):
        for model in (whole, twin):
            model.set_active_adapters(setup)
        assert_close(whole(**batch)[0], twin(**batch)[0])


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_acts_and_learns_as_on_rounded_floats(kind, exact):
    whole, twin = pair("bert", kind)
    batch = batch_for(whole, 3, 7)
    for model in (whole, twin):
        model.train_adapter(kind)
        model(**batch)[0].square().mean().backward()
    assert_close(whole(**batch)[0], twin(**batch)[0])
    assert_gradients(gradients(whole), gradients(twin))


def test_rows_do_not_meet():
    whole, _ = pair("bert", "lora", "seq_bn")
    whole.set_active_adapters(Stack("lora", "seq_bn"))
    batch = batch_for(whole, 3, 7)
    found = whole(**batch)[0]
    for row, tokens in enumerate(batch["attention_mask"].sum(1)):
        alone = whole(**{name: tensor[row : row + 1, : int(tokens)] for name, tensor in batch.items()})[0]
        assert_close(crop(found, row, alone), alone)


def test_cached_steps_look_at_the_same_memory():
    whole = tiny_model("bart").quantize_base()
    batch = batch_for(whole, 2, 5)
    decoder = batch.pop("decoder_input_ids", torch.randint(4, 60, (2, 4)))
    batch.pop("decoder_attention_mask", None)
    at_once = whole(**batch, decoder_input_ids=decoder)[0]
    first = whole(**batch, decoder_input_ids=decoder[:, :2], use_cache=True)
    then = whole(**batch, decoder_input_ids=decoder[:, 2:], past_key_values=first.past_key_values)[0]
    assert_close(then, at_once[:, 2:])


def test_training_moves_the_adapter_and_head_alone_and_learns():
    torch.manual_seed(0)
    model = tiny_model("bert").quantize_base()
    model.add_adapter("a", "lora")
    model.add_classification_head("a")
    model.train_adapter("a")
    before = tensors_of(model.base)
    batch = {**batch_for(model, 4, 7), "labels": torch.tensor([0, 1, 1, 0])}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {id(p) for p in trained} == {id(p) for p in (*model.adapters.parameters(), *model.heads.parameters())}
    optimizer, losses = torch.optim.AdamW(trained, lr=1e-2), []
    for _ in range(12):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.base.state_dict().items())


def test_it_takes_a_quarter_of_the_memory_and_freezes():
    model = tiny_model("bert")
    floats = sum(p.numel() * 4 for name, p in model.base.encoder.named_parameters() if p.dim() == 2)
    assert model.quantized is None and model.quantize_base() is model and model.quantized == "int8"
    bytes_now = sum(b.numel() * b.element_size() for name, b in model.base.encoder.named_buffers() if "int8" in name)
    assert bytes_now == floats / 4 and model.model_frozen
    before = model.base.encoder[0].mlp.up
    assert model.quantize_base() is model and model.base.encoder[0].mlp.up is before


def test_shared_layers_are_rounded_once():
    model = tiny_model("encoder-decoder", tie_encoder_decoder=True)
    model.quantize_base()
    assert model.base.encoder[0].attn.qkv is model.base.decoder[0].attn.qkv


def test_heads_and_adapters_go_where_they_always_go(tmp_path):
    model = tiny_model("bert", "ForSequenceClassification").quantize_base()
    flexible = model.to_flexible()
    batch = batch_for(model, 2, 5)
    assert flexible.quantized == "int8"
    assert torch.equal(flexible(**batch).logits, model(**batch).logits)
    add_random(flexible, "lora")
    flexible.set_active_adapters("lora")
    flexible.save_adapter(tmp_path, "lora")
    other = copy.deepcopy(flexible)
    other.delete_adapter("lora")
    other.load_adapter(tmp_path, set_active=True)
    assert torch.equal(other(**batch).logits, flexible(**batch).logits)


@pytest.mark.parametrize("call", ["merge_adapter", "merge_and_unload", "freeze_model", "save_pretrained"])
def test_what_needs_floats_is_refused(call, tmp_path):
    model = tiny_model("bert")
    add_random(model, "lora", CONFIGS["lora"])
    model.quantize_base()
    argument = {"freeze_model": False, "save_pretrained": tmp_path / "new"}.get(call, "lora")
    with pytest.raises(ValueError, match="are int8, which"):
        getattr(model, call)(argument)
    assert not (tmp_path / "new").exists() and model.model_frozen


def test_what_cannot_be_rounded_is_named_and_nothing_is_changed():
    model = tiny_model("bert")
    model.base.encoder[1].mlp.up.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"encoder\.1\.mlp\.up holds NaN"):
        model.quantize_base()
    with pytest.raises(ValueError, match=r"'int4'.*int8"):
        model.quantize_base("int4")
    add_random(model, "lora", CONFIGS["lora"])
    model.base.encoder[1].mlp.up.weight.data[0, 0] = 0
    model.merge_adapter("lora")
    with pytest.raises(ValueError, match=r"lora.*merged"):
        model.quantize_base()
    assert model.quantized is None and not model.model_frozen


def test_a_cpu_says_what_it_is_quick_at(tmp_path, monkeypatch, caplog):
    for flags, half, whole in (("fpu avx512_bf16 avx512_vnni", True, True), ("fpu avx2", False, False)):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n", encoding="utf-8")
        monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
        cpu._abilities.cache_clear()
        assert (is_fast_on_cpu(torch.bfloat16), is_fast_on_cpu(torch.int8)) == (half, whole)
    assert is_fast_on_cpu(torch.float32) and not is_fast_on_cpu(torch.float16)
    tiny_model("bert").quantize_base()
    assert "no instructions for products of int8" in caplog.text
    monkeypatch.undo()
    cpu._abilities.cache_clear()


@pytest.mark.slow
def test_compiled_it_is_one_graph():
    torch._dynamo.reset()
    model = tiny_model("bert").quantize_base()
    batch = batch_for(model, 3, 7)
    with torch.no_grad():
        expected = model(**batch)[0]
        model.base.compile(fullgraph=True, dynamic=True, backend="eager")
        assert_close(model(**batch)[0], expected)
    torch._dynamo.reset()
