"""Law 8: adding, activating, running, training and deleting adapters leave the network's tensors and keys untouched."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, Stack
from tests.helpers.adapting import KINDS, add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.tiny import NAMES, tiny_model


def footprint(model):
    """The network's keys, with where in memory each tensor lies."""
    return {name: tensor.data_ptr() for name, tensor in model.base.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", NAMES)
def test_an_adapters_life_leaves_the_network_as_it_was(architecture, kind, tmp_path):
    model = tiny_model(architecture)
    bits, memory, keys = tensors_of(model.base), footprint(model), list(model.state_dict())
    modules = [name for name, _ in model.base.named_modules()]
    batch = batch_for(model)

    def check():
        assert same_bits(tensors_of(model.base), bits)
        assert footprint(model) == memory
        assert [name for name, _ in model.base.named_modules()] == modules

    add_random(model, kind)
    check()
    model.set_active_adapters(kind)
    model(**batch)
    check()
    with AdapterSetup(Stack(kind, kind)):
        model(**batch)
    check()
    model.save_adapter(tmp_path, kind)
    model.load_adapter(tmp_path, load_as="again")
    check()
    model.train_adapter(kind)
    model(**batch).last_hidden_state.sum().backward()
    check()
    model.delete_adapter(kind)
    model.delete_adapter("again")
    check()
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("architecture", NAMES)
def test_what_is_not_made_changes_nothing(architecture):
    model = tiny_model(architecture)
    add_random(model, "lora")
    before, keys = tensors_of(model), list(model.state_dict())
    for name, config in (("lora", "seq_bn"), ("new", "no_such"), ("new", "lora[r=0]"), ("", "lora")):
        with pytest.raises(ValueError):
            model.add_adapter(name, config)
    for name in ("new", "lor"):
        with pytest.raises(KeyError):
            model.set_active_adapters(name)
        with pytest.raises(KeyError):
            model.delete_adapter(name)
    assert list(model.state_dict()) == keys
    assert same_bits(tensors_of(model), before)
    assert model.active_adapters is None


@pytest.mark.parametrize("architecture", NAMES)
def test_a_forward_leaves_its_inputs_as_they_were(architecture):
    model = tiny_model(architecture)
    for kind in KINDS:
        add_random(model, kind)
    batch = batch_for(model)
    if "decoder_input_ids" in batch:
        batch["labels"] = batch["decoder_input_ids"].masked_fill(batch["decoder_attention_mask"] == 0, -100)
        model.add_seq2seq_lm_head("head")
    else:
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model.add_masked_lm_head("head")
    before = {name: tensor.clone() for name, tensor in batch.items()}
    names = ["lora_gated", None, "prefix_longer", "bn_final"]
    for padding_free in (True, False):
        model.padding_free = padding_free
        for call in ({}, {"adapter_names": names}, {"output_attentions": True, "output_hidden_states": True}):
            model(**batch, **call)
            wrong = [name for name in batch if not torch.equal(batch[name], before[name])]
            assert not wrong
