"""Unions: several methods in one adapter."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import (
    AdapterConfig,
    AdapterSetup,
    CompacterConfig,
    ConfigUnion,
    LoRAConfig,
    MAMConfig,
    ParBnConfig,
    PrefixTuningConfig,
    SeqBnConfig,
    Stack,
    UniPELTConfig,
)
from tests.helpers.adapting import add_random, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, tiny_model

PREFIX = PrefixTuningConfig(prefix_length=3, bottleneck_size=8)
BOTTLENECK = CompacterConfig(reduction_factor=4)
LORA = LoRAConfig(r=2)
MEMBERS = {"prefix": PREFIX, "bottleneck": BOTTLENECK, "lora": LORA}


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_union_does_what_its_members_do_together(architecture):
    torch.manual_seed(0)
    model = tiny_model(architecture)
    add_random(model, "union", ConfigUnion(*MEMBERS.values()))
    state = tensors_of(model.adapters["union"])
    for number, (name, config) in enumerate(MEMBERS.items()):
        model.add_adapter(name, config)
        own = {key.replace(f"shared.{number}-", "shared."): tensor for key, tensor in state.items()}
        adapter = model.adapters[name]
        adapter.load_state_dict({key: own[key] for key in adapter.state_dict()})
    batch = batch_for(model)
    with torch.no_grad(), AdapterSetup("union"):
        found = model(**batch).last_hidden_state
    with torch.no_grad(), AdapterSetup(Stack(*MEMBERS)):
        assert_close(found, model(**batch).last_hidden_state)
    sizes = [sum(p.numel() for p in model.adapters[name].parameters()) for name in ("union", *MEMBERS)]
    assert sizes[0] == sum(sizes[1:])


def test_a_union_reads_as_its_members():
    union = ConfigUnion(PREFIX, BOTTLENECK)
    assert union[0] == PREFIX and union[1] is BOTTLENECK
    assert union["0.prefix_length"] == 3
    assert union["1.reduction_factor"] == 4
    assert list(union) == [f"0.{key}" for key in PREFIX] + [f"1.{key}" for key in BOTTLENECK]
    assert len(union) == len(list(union))
    assert union.to_dict() == {"architecture": "union", "configs": [PREFIX.to_dict(), BOTTLENECK.to_dict()]}
    assert AdapterConfig.load(union.to_dict()) == union == ConfigUnion.from_dict(union.to_dict())
    for wrong in ("2.r", "0.r", "prefix_length", "-1.flat", ".flat"):
        with refuses(KeyError, "no field of ConfigUnion", wrong):
            union[wrong]


def test_fields_of_one_member_or_of_all_may_be_changed():
    union = ConfigUnion(PREFIX, LORA)
    changed = union.replace(**{"1.r": 5, "leave_out": [1]})
    assert changed == ConfigUnion(PREFIX.replace(leave_out=[1]), LORA.replace(r=5, leave_out=[1]))
    assert union == ConfigUnion(PREFIX, LORA)
    assert union.replace(r=3) == ConfigUnion(PREFIX, LORA.replace(r=3))
    assert AdapterConfig.load("unipelt", r=3)["2.r"] == 3
    with refuses(ValueError, "no field 'x'; there are 0.", "no field '0.r'"):
        union.replace(x=1, **{"0.r": 2})


def test_unions_are_equal_if_all_members_are():
    assert ConfigUnion(PREFIX) != ConfigUnion(PREFIX, LORA)
    assert ConfigUnion(PREFIX, LORA) != ConfigUnion(LORA, PREFIX)
    assert {ConfigUnion(PREFIX, LORA): 1}[ConfigUnion(PREFIX, LORA.replace(r=2))] == 1


@pytest.mark.parametrize(
    ("text", "union"),
    [
        ("prefix_tuning|par_bn", ConfigUnion(PrefixTuningConfig(), ParBnConfig())),
        ("prefix_tuning[bottleneck_size=800]|par_bn", MAMConfig()),
        (" lora[r=3] | seq_bn | prefix_tuning ", ConfigUnion(LoRAConfig(r=3), SeqBnConfig(), PrefixTuningConfig())),
    ],
)
def test_a_string_joins_configs_by_bars(text, union):
    assert AdapterConfig.load(text) == union


def test_the_published_unions_have_their_members():
    assert MAMConfig().prefix_tuning == PrefixTuningConfig(bottleneck_size=800)
    assert MAMConfig(adapter=SeqBnConfig()).adapter == SeqBnConfig()
    assert UniPELTConfig(lora=LORA)[2] == LORA.replace(use_gating=True)
    assert [config["use_gating"] for config in UniPELTConfig().configs] == [True] * 3
    with refuses(TypeError, "MAMConfig joins a PrefixTuningConfig and a BnConfig"):
        MAMConfig(adapter=LORA)


def test_what_is_no_union_is_told():
    with refuses(TypeError, "a union joins configs, not 'lora'"):
        ConfigUnion("lora")
    with refuses(TypeError, "a union joins single configs, not unions such as MAMConfig("):
        ConfigUnion(LORA, MAMConfig())
    with refuses(ValueError, "there is no config to join"):
        ConfigUnion()
    with refuses(TypeError, "not unions"):
        AdapterConfig.load("mam|lora")
    for configs in (None, 5, "lora", ["lora"]):
        with refuses(ValueError, "configs must be a list of configs"):
            AdapterConfig.load({"architecture": "union", "configs": configs})


@pytest.mark.parametrize("architecture", DISTINCT)
def test_members_that_act_at_one_site_are_told(architecture):
    model = tiny_model(architecture)
    said = "members 0 (bottleneck) and 2 (bottleneck) of the union both act at ", ".0.mlp.join"
    with refuses(ValueError, *said, "Stack('first', 'second')", model=model):
        model.add_adapter("a", ConfigUnion(SeqBnConfig(), LORA, ParBnConfig()))


@pytest.mark.parametrize("architecture", DISTINCT)
def test_members_of_one_method_may_be_in_different_places(architecture, tmp_path):
    torch.manual_seed(0)
    model = tiny_model(architecture)
    layers = list(range(model.base.config.layers))
    first = CompacterConfig(leave_out=layers[1:], reduction_factor=4)
    second = CompacterConfig(leave_out=[0], reduction_factor=8, phm_dim=2)
    lower, upper = (PREFIX.replace(leave_out=left, prefix_length=n) for left, n in ((layers[1:], 2), ([0], 4)))
    add_random(model, "a", ConfigUnion(first, second, lower, upper))
    model.save_adapter(tmp_path, "a")
    model.load_adapter(tmp_path, load_as="again", set_active=True)
    one, two = (tensors_of(model.adapters[name]) for name in ("a", "again"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.isfinite(model(**batch_for(model)).last_hidden_state).all()


def test_each_member_has_its_own_dtype():
    model = tiny_model("bert")
    model.add_adapter("a", ConfigUnion(LORA.replace(dtype="bfloat16"), BOTTLENECK))
    state = tensors_of(model.adapters["a"])
    found = {tensor.dtype for name, tensor in state.items() if "lora_" in name}
    others = {tensor.dtype for name, tensor in state.items() if "lora_" not in name}
    assert (found, others) == ({torch.bfloat16}, {torch.float32})
