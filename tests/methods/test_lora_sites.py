"""Where LoRA acts, with which rank and scale: switches, patterns, and the token embedding."""

from __future__ import annotations

import math

import pytest
import torch

from adapterzoo import LoRAConfig
from tests.helpers.adapting import add_random, small
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import DISTINCT, tiny_model

LINEAR = {"attn.q", "attn.k", "attn.v", "attn.out", "mlp.up", "mlp.down"}

CHOSEN = {
    "mlp.*": {"mlp.up", "mlp.down"},
    "attn.out": {"attn.out"},
    "attn.?": {"attn.q", "attn.k", "attn.v"},
    ("cross.q", "mlp.up"): {"cross.q", "mlp.up"},
    "*": LINEAR | {"cross.q", "cross.k", "cross.v", "cross.out", "token"},
    "*.mlp.down": {"mlp.down"},
    "token": {"token"},
}


def names(model, config):
    """The names of the sites where an adapter of a config acts."""
    model.add_adapter("probe", config, overwrite_ok=True)
    return {slug.split("-", 2 if "token" not in slug else 1)[-1].replace("-", ".") for slug in units(model)}


def units(model):
    return dict(model.adapters["probe"].units.items())


@pytest.mark.parametrize("patterns", CHOSEN, ids=map(str, CHOSEN))
def test_patterns_choose_sites_by_name_or_path(patterns):
    assert names(tiny_model("bart"), LoRAConfig(sites=patterns, r=2)) == CHOSEN[patterns]


def test_patterns_take_the_place_of_the_switches_but_not_of_leave_out():
    model = tiny_model("bert")
    config = LoRAConfig(sites="mlp.up", selfattn_lora=True, output_lora=True, leave_out=[0])
    assert names(model, config) == {"mlp.up"}
    assert list(units(model)) == ["encoder-1-mlp-up"]
    assert names(model, LoRAConfig(sites=["encoder.0.attn.q", "encoder.1.mlp.*"])) == {"attn.q", "mlp.up", "mlp.down"}


def test_patterns_choose_what_the_switches_choose():
    model = tiny_model("bart")
    names(model, LoRAConfig(intermediate_lora=True))
    switched = set(units(model))
    names(model, LoRAConfig(sites=["*.q", "*.v", "mlp.up"]))
    assert set(units(model)) == switched


def test_the_longest_pattern_says_the_rank_and_alpha():
    model = tiny_model("bert")
    ranks, alphas = {"mlp.*": 2, "mlp.down": 3, "*.1.mlp.up": 5}, {"encoder.0.*": 16, "attn.q": 1}
    names(model, LoRAConfig(sites="*", rank_pattern=ranks, alpha_pattern=alphas, r=4, alpha=6))
    found = {slug: (len(unit.lora_A), unit.scale * len(unit.lora_A)) for slug, unit in units(model).items()}
    assert found["encoder-0-mlp-up"] == (2, 16)
    assert found["encoder-1-mlp-up"] == (5, 6)
    assert found["encoder-1-mlp-down"] == (3, 6)
    assert found["encoder-0-attn-q"] == (4, 16)
    assert found["encoder-1-attn-q"] == (4, 1)
    assert found["encoder-token"] == (4, 6)


def test_a_rank_stabilised_scale_has_the_root_of_the_rank():
    model = tiny_model("bert")
    names(model, LoRAConfig(use_rslora=True, r=4, alpha=6, rank_pattern={"attn.v": 9}))
    assert {unit.scale for unit in units(model).values()} == {6 / math.sqrt(4), 6 / math.sqrt(9)}


@pytest.mark.parametrize("architecture", DISTINCT)
def test_lora_on_the_tokens_is_another_embedding(architecture):
    model = tiny_model(architecture)
    batch = batch_for(model)
    add_random(model, "tokens", small("lora[sites='token']"))
    adapter = model.adapters["tokens"]
    for unit in adapter.units.values():  # a stack's own embedding, or one for both
        unit.load_state_dict(next(iter(adapter.units.values())).state_dict())
    model.set_active_adapters("tokens")
    with torch.no_grad():
        found = model(**batch)[0]
        model.set_active_adapters(None)
        bare = model(**batch)[0]
        for table in {id(token): token for token in map(model.base.token_of, model.base.config.stacks())}.values():
            unit = next(iter(adapter.units.values()))
            table.weight += unit.delta().T
        law = model(**batch)[0]
    assert_close(found, law)
    assert (found - bare).abs().max() > 0.01


def test_a_variant_that_knows_no_tokens_acts_at_linear_sites_alone():
    for config in ("dora", "ia3", "vera", "mtl_lora", "lora[use_gating=True]"):
        assert names(tiny_model("bert"), small(config).replace(sites="*")) == LINEAR


def test_veras_layers_of_any_shape_share_two_matrices():
    model = tiny_model("bert")
    model.add_adapter("probe", "vera[intermediate_lora=True, output_lora=True, r=4]")
    shared = dict(model.adapters["probe"].shared.items())
    width, inner = model.base.config.width, model.base.config.first.inner
    assert {name: tuple(tensor.shape) for name, tensor in shared["shared"].state_dict().items()} == {
        "lora_A": (4, inner),
        "lora_B": (inner, 4),
    }
    counted = {name: parameter.numel() for name, parameter in model.adapters["probe"].named_parameters()}
    assert sum(counted.values()) == 2 * (4 * 4 + 3 * width + inner)
    assert not list(shared["shared"].parameters())
