"""Law 5: what is saved and loaded is what it was, bit for bit: adapters, heads, whole models."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import BatchSplit, Stack, zoo
from adapterzoo.archs import ModelConfig
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_same
from tests.helpers.heads import add_head, head_types
from tests.helpers.naming import ODD
from tests.helpers.tiny import NAMES, class_named, randomise, tiny_config, tiny_model

HEADS = [(name, kind) for name in NAMES for kind in head_types(tiny_model(name))]
CLASSES = [name for name, kind in zoo.CLASSES.items() if not issubclass(kind, ModelConfig)]


def twin_of(model):
    """Another model with the same network, and nothing else."""
    other = type(model)(model.config.from_dict(model.config.to_dict()))
    other.base.load_state_dict(model.base.state_dict())
    return other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", NAMES)
def test_an_adapter(architecture, kind, tmp_path):
    model = tiny_model(architecture)
    add_random(model, kind)
    model.save_adapter(tmp_path, kind)
    other = twin_of(model)
    assert other.load_adapter(tmp_path, load_as="twin", set_active=True) == "twin"
    assert same_bits(tensors_of(other.adapters["twin"]), tensors_of(model.adapters[kind]))
    assert other.adapters.get("twin") == model.adapters.get(kind)
    model.set_active_adapters(kind)
    batch = batch_for(model)
    assert_same(other(**batch), model(**batch))


@pytest.mark.parametrize("suffix", ["Model", "AdapterModel"])
@pytest.mark.parametrize("name", ODD)
def test_an_adapter_of_any_name(name, suffix, tmp_path):
    model = tiny_model(NAMES[0], suffix)
    add_random(model, name, CONFIGS["prefix_tuning"])
    model.save_adapter(tmp_path, name)
    other = twin_of(model)
    assert other.load_adapter(tmp_path) == name
    assert same_bits(tensors_of(other.adapters[name]), tensors_of(model.adapters[name]))


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_a_head(architecture, kind, tmp_path):
    model = tiny_model(architecture)
    add_head(model, kind, "en.wiki/head")
    model.save_head(tmp_path, "en.wiki/head")
    other = twin_of(model)
    assert other.load_head(tmp_path) == "en.wiki/head"
    assert other.active_head == "en.wiki/head"
    head, twin = model.heads["en.wiki/head"], other.heads["en.wiki/head"]
    assert type(twin) is type(head)
    assert twin.config == head.config
    assert twin.tied == head.tied
    assert same_bits(tensors_of(twin), tensors_of(head))


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_of_every_class(name, tmp_path):
    kind = zoo.CLASSES[name]
    model = kind(tiny_config(kind.architecture.model_type))
    randomise(model)
    model.save_pretrained(tmp_path)
    loaded, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert (report.missing_keys, report.unexpected_keys) == ([], [])
    assert same_bits(tensors_of(loaded), tensors_of(model))
    assert kind.architecture.network(loaded.config) == kind.architecture.network(model.config)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("architecture", NAMES)
def test_a_model_of_another_dtype(architecture, dtype, tmp_path):
    model = tiny_model(architecture)
    add_random(model, "lora")
    add_head(model, "classification", "lora")
    model.to(dtype).save_pretrained(tmp_path)
    loaded = class_named(architecture, "AdapterModel").from_pretrained(tmp_path, dtype="auto")
    assert same_bits(tensors_of(loaded), tensors_of(model))


SETUPS = {
    "nothing": None,
    "a name": "train",
    "a stack": Stack("train", "en.wiki"),
    "a nesting": Stack("%2E", BatchSplit("a/b", Stack(), Stack("train", ".."), batch_sizes=[1, 2, 1])),
}


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("architecture", NAMES)
def test_a_whole_model_with_adapters_and_heads_of_any_name(architecture, setup, tmp_path):
    model = tiny_model(architecture)
    kinds, types = list(CONFIGS.values()), head_types(model)
    for number, name in enumerate(ODD):
        add_random(model, name, kinds[number % len(kinds)])
        add_head(model, types[number % len(types)], name)
    model.set_active_adapters(SETUPS[setup])
    model.active_head = "a/b"
    model.save_pretrained(tmp_path)
    loaded = class_named(architecture, "AdapterModel").from_pretrained(tmp_path)
    assert list(loaded.adapters) == list(model.adapters) == ODD
    assert list(loaded.heads) == list(model.heads) == ODD
    assert same_bits(tensors_of(loaded), tensors_of(model))
    assert [loaded.heads[name].config for name in ODD] == [model.heads[name].config for name in ODD]
    assert loaded.active_adapters == model.active_adapters
    assert loaded.active_head == "a/b"
    batch = batch_for(model, decoder=False)
    assert_same(loaded(**batch), model(**batch))


@pytest.mark.parametrize("architecture", NAMES)
def test_a_setup_over_rows_and_its_heads(architecture, tmp_path):
    model = add_all(tiny_model(architecture))
    for name in ("lora", "seq_bn"):
        add_head(model, "classification", name)
    model.set_active_adapters(BatchSplit("lora", "seq_bn", batch_sizes=[3, 1]), skip_layers=[0])
    model.save_pretrained(tmp_path)
    loaded = class_named(architecture, "AdapterModel").from_pretrained(tmp_path)
    assert loaded.active_head == BatchSplit("lora", "seq_bn", batch_sizes=[3, 1])
    batch = batch_for(model, decoder=False)
    assert_same(loaded(**batch).head_outputs, model(**batch).head_outputs)


@pytest.mark.parametrize("beside", [True, False])
def test_a_setup_with_a_fixed_head_gives_it_to_a_flexible_model_by_name(beside, tmp_path):
    fixed = tiny_model("bert", "ForSequenceClassification", num_labels=3)
    add_random(fixed, "a", "lora[r=2]")
    fixed.set_active_adapters("a")
    fixed.save_adapter_setup(tmp_path, "a", head_setup=True)
    if not beside:
        for path in tmp_path.glob("*head*"):
            path.unlink()
    flexible = class_named("bert", "AdapterModel").from_config(fixed.config)
    flexible.base.load_state_dict(fixed.base.state_dict())
    setup, heads = flexible.load_adapter_setup(tmp_path, set_active=True)
    assert (heads, flexible.active_head) == (
        ("default", "default") if beside else (None, "a")
    )  # "a" lies beside the adapter
    flexible.save_adapter_setup(tmp_path / "again", setup, heads)
    batch = batch_for(fixed, decoder=False)
    assert torch.equal(flexible.eval()(**batch).logits, fixed.eval()(**batch).logits)


@pytest.mark.parametrize("architecture", NAMES)
def test_saving_changes_nothing(architecture, tmp_path):
    model = add_all(tiny_model(architecture))
    model.set_active_adapters(Stack("lora", "prefix_tuning"))
    add_head(model, "classification", "head")
    before, batch = tensors_of(model), batch_for(model, decoder=False)
    output = model(**batch)
    model.save_pretrained(tmp_path)
    assert same_bits(tensors_of(model), before)
    assert_same(model(**batch), output)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    model.save_pretrained(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first
