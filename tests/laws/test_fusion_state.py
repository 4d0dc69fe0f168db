"""Fusions are kept: in files, in copies, in other classes; and their temperature falls as training goes on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from adapterzoo import BatchSplit, Fuse, Stack
from tests.helpers.adapting import add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_gradients, assert_same, gradients
from tests.helpers.fusion_cases import add_pair, add_random_fusion
from tests.helpers.tiny import DISTINCT, NAMES, randomise, tiny_model

COOLING = "dynamic[temperature=True, query_before_ln=True]"


def fused(architecture, suffix="AdapterModel"):
    """A model with a fusion of bottlenecks and one of LoRAs, the second with a temperature."""
    torch.manual_seed(0)
    model = tiny_model(architecture, suffix).eval()
    add_pair(model, "double_seq_bn[leave_out=[0]]")
    for name in ("en.wiki", "c/d"):
        add_random(model, name, "lora[intermediate_lora=True]", 0.1)
    add_random_fusion(model, ["en.wiki", "c/d"], COOLING, "loras")
    with torch.no_grad():
        model.fusions["loras"].shared["temperature"].steps.fill_(17)
    return model


BOTH = Stack(Fuse("a", "b"), Fuse("en.wiki", "c/d", name="loras"))


def same_fusions(first, second):
    assert list(first.fusions) == list(second.fusions)
    for name, fusion in first.fusions.items():
        other = second.fusions[name]
        assert other is not fusion
        assert (other.config, other.names, other.sites) == (fusion.config, fusion.names, fusion.sites)
        assert same_bits(tensors_of(other), tensors_of(fusion))
    batch = batch_for(first)
    with torch.no_grad():
        for model in (first, second):
            model.set_active_adapters(BOTH)
        assert_same(first(**batch), second(**batch))


@pytest.mark.parametrize("suffix", ["Model", "AdapterModel"])
@pytest.mark.parametrize("architecture", NAMES)
def test_in_files(architecture, suffix, tmp_path):
    model = fused(architecture, suffix)
    model.set_active_adapters(BOTH)
    model.save_pretrained(tmp_path / "whole")
    loaded = type(model).from_pretrained(tmp_path / "whole")
    assert loaded.active_adapters == BOTH
    same_fusions(model, loaded)
    model.save_adapter_fusion(tmp_path / "one", "loras")
    assert loaded.load_adapter_fusion(tmp_path / "one", load_as="twin", set_active=True) == "twin"
    assert loaded.active_adapters == Fuse("en.wiki", "c/d", name="twin")
    assert same_bits(tensors_of(loaded.fusions["twin"]), tensors_of(model.fusions["loras"]))


def test_with_a_head(tmp_path):
    model = fused(DISTINCT[1])
    for name in ("a,b", "other"):
        model.add_classification_head(name)
    model.save_adapter_fusion(tmp_path / "own", "a,b", with_head=True)
    model.save_adapter_fusion(tmp_path / "other", "a,b", with_head="other")
    for name in ("a,b", "other"):
        model.delete_head(name)
    model.load_adapter_fusion(tmp_path / "own", with_head=False)
    assert not len(model.heads)
    model.load_adapter_fusion(tmp_path / "own")
    model.load_adapter_fusion(tmp_path / "other")
    model.load_adapter_fusion(tmp_path / "other", load_as="twin")
    assert list(model.heads) == ["a,b", "other", "twin"]
    fixed = fused(DISTINCT[1], "ForSequenceClassification")
    fixed.save_adapter_fusion(tmp_path / "fixed", "a,b", with_head=True)
    before = tensors_of(fixed.head)
    randomise(fixed.head)
    fixed.load_adapter_fusion(tmp_path / "fixed")
    assert same_bits(tensors_of(fixed.head), before)


def test_in_copies():
    model = fused(DISTINCT[0])
    other = copy.deepcopy(model)
    assert other.fusions is other.adapters.fusions
    same_fusions(model, other)
    assert list(model.state_dict()) == list(other.state_dict())


def test_in_a_flexible_class_and_back():
    fixed = fused(DISTINCT[1], "ForSequenceClassification")
    fixed.set_active_adapters(BOTH)
    flexible = fixed.to_flexible()
    assert flexible.active_adapters == BOTH
    same_fusions(fixed, flexible)
    same_fusions(flexible, flexible.to_static())


def test_a_fusion_whose_adapters_are_gone_is_kept_but_cannot_act(tmp_path):
    model = fused(DISTINCT[0])
    model.set_active_adapters(BOTH)
    model.delete_adapter("a")
    assert model.active_adapters is None
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert same_bits(tensors_of(loaded.fusions["a,b"]), tensors_of(model.fusions["a,b"]))
    with pytest.raises(ValueError, match="no adapter named 'a'"):
        loaded.set_active_adapters(Fuse("a", "b"))


def test_replacing_or_deleting_a_fusion_drops_its_plans():
    model = fused(DISTINCT[0])
    batch = batch_for(model)
    model.set_active_adapters(Fuse("a", "b"))
    with torch.no_grad():
        before = model(**batch)[0]
        model.add_adapter_fusion(["a", "b"], "static", overwrite_ok=True)
        assert not torch.equal(model(**batch)[0], before)
    model.delete_adapter_fusion(Fuse("a", "b"))
    assert model.active_adapters is None
    with pytest.raises(ValueError, match="no adapter fusion named 'a,b'; there are loras"):
        model.set_active_adapters(Fuse("a", "b"))


# ---------------------------------------------------------------------------------------------- temperature


def test_the_temperature_falls_by_training_alone_to_one(tmp_path):
    model = fused(DISTINCT[0])
    model.add_adapter_fusion(["a", "b"], COOLING, name="cooling")
    temperature = model.fusions["cooling"].shared["temperature"]
    batch = batch_for(model)
    setup = Fuse("a", "b", name="cooling")
    model.train_adapter_fusion(setup)
    taken = []
    for _ in range(3):
        taken.append(float(model.adapters.plan(setup, model.base).start().once[temperature]))
    assert taken == pytest.approx([50, 49.95, 49.9])
    model.eval()
    with torch.no_grad():
        first, second = model(**batch)[0], model(**batch)[0]
    assert torch.equal(first, second)
    assert int(temperature.steps) == 3
    model.save_adapter_fusion(tmp_path, "cooling")
    model.load_adapter_fusion(tmp_path, load_as="later")
    assert int(model.fusions["later"].shared["temperature"].steps) == 3
    model.to(torch.bfloat16)
    temperature.steps += 5000
    assert float(temperature.once()) == 1


def test_all_places_have_the_same_temperature_when_layers_are_computed_again():
    model = fused(DISTINCT[0])
    model.add_adapter_fusion(["a", "b"], COOLING, name="cooling")
    temperature = model.fusions["cooling"].shared["temperature"]
    found = []
    for again in (False, True):
        temperature.steps.fill_(900)
        model.train_adapter_fusion(Fuse("a", "b", name="cooling"))
        (model.gradient_checkpointing_enable if again else model.gradient_checkpointing_disable)()
        model(**batch_for_seeded(model))[0].pow(2).sum().backward()
        found.append(gradients(model.fusions))
        assert int(temperature.steps) == 901
    assert_gradients(found[1], found[0])


def batch_for_seeded(model):
    torch.manual_seed(3)
    return batch_for(model)


def test_a_compiled_network_trains_fusions_step_after_step_and_is_compiled_once():
    torch._dynamo.reset()
    counters.clear()
    model = fused(DISTINCT[1])
    batch = batch_for(model)
    model.train_adapter_fusion(BatchSplit(BOTH, "a", batch_sizes=[3, 1]))
    model.base.compile(fullgraph=True, dynamic=False, backend="eager")
    steps = model.fusions["loras"].shared["temperature"].steps
    for step in range(3):
        steps.fill_(step)
        with torch.compiler.set_stance("force_eager"):
            model(**batch)[0].pow(2).sum().backward()
        expected = gradients(model.fusions)
        steps.fill_(step)
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            model(**batch)[0].pow(2).sum().backward()
        assert_gradients(gradients(model.fusions), expected)
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


def test_a_fusion_may_have_another_dtype():
    model = fused(DISTINCT[0])
    model.set_active_adapters(BOTH)
    batch = batch_for(model)
    with torch.no_grad():
        before = model(**batch)[0]
        model.adapter_fusion_to(["a", "b"], dtype=torch.float64)
        model.adapter_fusion_to("loras", dtype=torch.float64)
        after = model(**batch)[0]
    assert {p.dtype for p in model.fusions.parameters()} == {torch.float64}
    assert after.dtype == before.dtype
    assert_close(after, before)


def test_training_moves_the_fusion_alone_unless_adapters_are_asked_for():
    model = fused(DISTINCT[0])
    for unfreeze in (False, True):
        model.train_adapter_fusion(BOTH, unfreeze_adapters=unfreeze)
        model(**batch_for(model))[0].pow(2).sum().backward()
        named = {name.split(".")[0] for name in gradients(model)}
        assert named == ({"fusions", "adapters"} if unfreeze else {"fusions"})
        assert model.training
    model.train_adapter("a")
    assert not any(parameter.requires_grad for parameter in model.fusions.parameters())
    assert model.get_fusion_regularization_loss() is None
