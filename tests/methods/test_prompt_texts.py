"""A prompt that begins with a text: its tokens' embeddings, by a tokenizer that the caller gives or the model knows."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import PromptTuningConfig, Tokenizer
from tests.helpers.adapting import same_bits, tensors_of
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, tiny_model
from tests.helpers.vocabularies import NEW, OLD, tokenizer_of, vocab_folder

TEXT = "both1 both7 both3"
CONFIG = PromptTuningConfig(prompt_init="from_string", prompt_init_text=TEXT, prompt_length=7)


def prompt(model, name="a"):
    (unit,) = model.adapters[name].units.values()
    return unit.prompt_embedding.weight


def rows(model, tokenizer):
    """The embeddings of the text's tokens, repeated and cut."""
    ids = tokenizer(TEXT)["input_ids"]
    stack = next(iter(model.base.config.stacks()))
    return model.base.token_of(stack).weight[torch.tensor((ids * 7)[:7])]


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_tokenizer_may_be_given(architecture):
    model, tokenizer = tiny_model(architecture), tokenizer_of(OLD)
    model.add_adapter("a", CONFIG, tokenizer=tokenizer)
    assert torch.equal(prompt(model), rows(model, tokenizer))
    assert prompt(model).requires_grad


def test_the_embedding_in_use_knows_its_tokenizer():
    model = tiny_model("bert")
    model.add_embeddings("new", tokenizer_of(NEW))
    model.add_adapter("a", CONFIG)
    assert torch.equal(prompt(model), rows(model, tokenizer_of(NEW)))


def test_the_config_may_name_the_tokenizer_as_with_the_peer(tmp_path):
    folder = vocab_folder(tmp_path, OLD)
    model = tiny_model("bert", tokenizer_name_or_path=str(folder))
    model.add_adapter("a", CONFIG)
    assert torch.equal(prompt(model), rows(model, Tokenizer.from_pretrained(folder)))


def test_reading_a_file_takes_no_tokenizer(tmp_path):
    model = tiny_model("bert")
    model.add_adapter("a", CONFIG, tokenizer=tokenizer_of(OLD))
    model.save_adapter(tmp_path, "a")
    other = tiny_model("bert")
    other.load_adapter(tmp_path)
    assert same_bits(tensors_of(other.adapters["a"]), tensors_of(model.adapters["a"]))
    assert other.adapters.get("a") == CONFIG


def test_what_is_missing_is_told():
    model = tiny_model("bert")
    with refuses(ValueError, f"prompt_init_text={TEXT!r} needs a tokenizer", "add_adapter(…, tokenizer=", model=model):
        model.add_adapter("a", CONFIG)
    with refuses(ValueError, 'needs a text: prompt_init_text="…"', model=model):
        model.add_adapter("a", CONFIG.replace(prompt_init_text=""), tokenizer=tokenizer_of(OLD))
    with refuses(ValueError, "the tokenizer's ids of prompt_init_text holds 100", "0 to 59", model=model):
        model.add_adapter("a", CONFIG, tokenizer=lambda text: {"input_ids": [100]})
    with refuses(ValueError, "cannot start with 0 token embeddings", model=model):
        model.add_adapter("a", CONFIG, tokenizer=lambda text: {"input_ids": []})


def test_a_prompt_of_another_width_cannot_begin_with_a_text():
    model = tiny_model("deberta-v2", embedding_size=24)
    with refuses(ValueError, "a prompt of width 32 cannot start with 5 token embeddings of width 24", model=model):
        model.add_adapter("a", CONFIG, tokenizer=tokenizer_of(OLD))


def test_random_values_have_a_scale_and_a_seed():
    model = tiny_model("bert")
    for name, changes in {
        "a": {"init_weights_seed": 3},
        "b": {"init_weights_seed": 3},
        "c": {"init_weights_seed": 4},
        "d": {"init_weights_seed": 3, "random_uniform_scale": 0.25},
    }.items():
        model.add_adapter(name, PromptTuningConfig(**changes))
    first, second, third, fourth = (prompt(model, name) for name in "abcd")
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(fourth, first / 2)
    assert 0.45 < float(first.detach().abs().max()) <= 0.5
