"""Disentangled attention keeps the laws where distances are projected as tokens are: rows alone, and merging."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import BatchSplit, Stack
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random
from tests.helpers.batches import batch_for, unmasked
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import NAMES, tiny_config, tiny_model

SHARING = [name for name in NAMES if "share_att_key" in tiny_config(name).names()]


@pytest.fixture(params=SHARING)
def model(request):
    return tiny_model(request.param, share_att_key=True).double()


def hidden(model, batch, **call):
    with torch.no_grad():
        return model(**batch, **call).last_hidden_state[unmasked(model, batch, "encoder")]


def test_each_row_is_what_it_is_alone(model):
    add_all(model).double()
    names = [None, *KINDS]
    batch = batch_for(model, rows=len(names))
    where = unmasked(model, batch, "encoder")
    with torch.no_grad():
        together = model(**batch, adapter_names=names).last_hidden_state
    for row, name in enumerate(names):
        model.set_active_adapters(name)
        with torch.no_grad():
            alone = model(**batch).last_hidden_state
        assert_close(together[row, where[row]], alone[row, where[row]], str(name))


def test_a_batch_split_within_a_stack_is_each_row_alone(model):
    for name in ("lora", "lora_all", "lora_gated"):
        add_random(model, name)
    model.double()
    batch = batch_for(model, rows=4)
    setups = [Stack("lora_all", "lora"), Stack("lora_all", "lora_gated")]
    model.set_active_adapters(Stack("lora_all", BatchSplit("lora", "lora_gated", batch_sizes=[3, 1])))
    found = model(**batch).last_hidden_state
    where = unmasked(model, batch, "encoder")
    for rows, setup in zip((slice(0, 3), slice(3, 4)), setups, strict=True):
        model.set_active_adapters(setup)
        assert_close(found[rows][where[rows]], model(**batch).last_hidden_state[rows][where[rows]])


def test_lora_in_attention_is_as_if_merged_into_the_weights_that_distances_share(model):
    add_random(model, "a", CONFIGS["lora_all"])
    model.double()
    batch = batch_for(model)
    bare = hidden(model, batch)
    model.set_active_adapters("a")
    found = hidden(model, batch)
    model.set_active_adapters(None)
    for layer, slug in ((layer, f"encoder-{index}") for index, layer in enumerate(model.base.encoder)):
        units = model.adapters["a"].units
        places = {part: getattr(layer.attn.qkv, part)()[0] for part in "qkv"}
        weights = {f"attn-{part}": weight for part, weight in places.items()}
        weights |= {"mlp-up": layer.mlp.up.weight, "mlp-down": layer.mlp.down.weight}
        with torch.no_grad():
            for name, weight in weights.items():
                unit = units[f"{slug}-{name}"]
                weight += unit.scale * unit.lora_B @ unit.lora_A
    assert_close(found, hidden(model, batch))
    assert (found - bare).abs().max() > 0.01


def test_a_prefix_lies_at_no_distance(model):
    add_random(model, "a", CONFIGS["prefix_tuning"])
    model.double()
    batch = batch_for(model)
    for row in range(len(batch["input_ids"])):
        model.set_active_adapters("a")
        with torch.no_grad():
            weights = model(**batch, output_attentions=True).attentions
        length = batch["input_ids"].size(1) + CONFIGS["prefix_tuning"].prefix_length
        assert all(each.size(-1) == length and torch.isfinite(each[row]).all() for each in weights)
