"""The rows and biases of a new embedding: copied for tokens that it shares with its reference, else new."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.tiny import NAMES, tiny_model
from tests.helpers.vocabularies import NEW, OLD, add_new, add_word_head, biased, shared_ids, tokenizer_of, word_types

OWN, THEIRS = shared_ids()
WORDS = [(name, kind) for name in NAMES for kind in word_types(tiny_model(name))]


class Words:
    """The least that an embedding asks of a tokenizer."""

    def __init__(self, vocab):
        self.vocab = dict(vocab)

    def __len__(self):
        return len(self.vocab)

    def get_vocab(self):
        return self.vocab

    def save_pretrained(self, save_directory):
        raise AssertionError("nobody saves it")


@pytest.mark.parametrize("architecture", NAMES)
def test_rows_of_shared_tokens_are_copied_and_others_are_new(architecture):
    model = tiny_model(architecture)
    old = model.base.token.weight.detach().clone()
    add_new(model)
    rows = model.base.token.weight.detach()
    assert len(OWN) == 30 and torch.equal(rows[OWN], old[THEIRS])
    others = torch.tensor([row for row in range(len(NEW)) if row not in OWN])
    assert len(others) == 11
    assert 0.5 < float(rows[others].detach().std()) / model.base.config.init_std < 1.5
    assert torch.equal(model.loaded_embeddings["default"].weight, old)


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1),
    st.dictionaries(st.sampled_from("defghijklm"), st.integers(0, 25), min_size=1),
)
def test_any_two_vocabularies(old, new):
    model = tiny_model(NAMES[0])
    reference = Words({token: number for number, token in enumerate(old)})
    model.add_embeddings("new", Words(new), "default", reference)
    rows, before = model.base.token.weight, model.loaded_embeddings["default"].weight
    assert len(rows) == max(len(new), max(new.values()) + 1)  # ids may have gaps
    copied = {number: token for token, number in new.items() if token in reference.vocab}
    for number, token in copied.items():
        assert any(torch.equal(rows[number], before[reference.vocab[other]]) for other in new if other in old), token
    theirs = {tuple(row) for row in before.tolist()}
    assert not any(tuple(row) in theirs for number, row in enumerate(rows.tolist()) if number not in copied)


def test_a_reference_may_be_any_embedding_active_or_not():
    model = tiny_model(NAMES[0])
    model.add_embeddings("first", tokenizer_of(OLD))
    first = model.base.token.weight
    add_new(model, "from active", "first")
    add_new(model, "from another", "first")
    for name in ("from active", "from another"):
        assert torch.equal(model.loaded_embeddings[name].weight[OWN], first[THEIRS])


def test_without_a_reference_all_rows_are_new():
    model = add_new(tiny_model(NAMES[0]), reference=None)
    assert 0.8 < float(model.base.token.weight.detach().std()) / model.base.config.init_std < 1.2


def test_the_row_of_the_tokenizers_padding_is_0_and_has_no_gradient():
    model = add_new(tiny_model(NAMES[0]), reference=None)
    padding = NEW.index("[PAD]")
    assert padding != model.config.pad_token_id and model.base.token.padding_idx == padding
    assert not model.base.token.weight[padding].any()
    model(torch.tensor([[0, padding, 1]])).last_hidden_state.square().sum().backward()
    moved = model.base.token.weight.grad.abs().sum(1)
    assert moved[padding] == 0 and moved[0] > 0


def test_a_tokenizer_that_tells_no_padding_has_the_models():
    model = tiny_model(NAMES[0])
    model.add_embeddings("words", Words({"a": 0, "b": 1, "c": 2}))
    assert model.base.token.padding_idx == model.config.pad_token_id
    model.add_embeddings("few", Words({"a": 0}))
    assert model.base.token.padding_idx == (0 if model.config.pad_token_id == 0 else None)


@pytest.mark.parametrize("architecture", NAMES)
def test_padding_is_the_tokenizers_where_positions_pass_over_it(architecture):
    model = add_new(tiny_model(architecture))
    padding, two = NEW.index("[PAD]"), len(model.base.config.stacks()) == 2
    ids = torch.tensor([[token for token in range(len(NEW)) if token != padding][:4]])
    padded = torch.cat([torch.full((1, 2), padding), ids], 1)
    mask = (padded != padding).long()
    alone, call = {"input_ids": ids}, {"input_ids": padded, "attention_mask": mask}
    if model.base.config.first.padding_position is None:
        call = {"input_ids": padded.roll(-2, 1), "attention_mask": mask.roll(-2, 1)}
    for inputs in (alone, call) if two else ():
        inputs["decoder_input_ids"] = ids
    with torch.no_grad():
        found, wanted = model(**call).last_hidden_state, model(**alone).last_hidden_state
    real = slice(None) if two else call["attention_mask"].bool()
    torch.testing.assert_close(found[real].flatten(0, -2), wanted.flatten(0, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("architecture", "kind"), WORDS)
def test_biases_of_shared_tokens_are_copied_and_others_are_0(architecture, kind):
    model = tiny_model(architecture)
    add_word_head(model, kind, "words")
    head = biased(model).heads["words"]
    old = {name: bias.detach().clone() for name, bias in head.biases.items()}
    assert old and all(bias.any() for bias in old.values())
    add_new(model)
    for name, bias in head.biases.items():
        assert torch.equal(bias[..., OWN], old[name][..., THEIRS])
        assert torch.count_nonzero(bias) <= len(OWN)
    add_new(model, "unrelated", reference=None)
    assert not any(bias.any() for bias in head.biases.values())


@pytest.mark.parametrize(("architecture", "kind"), WORDS)
def test_a_head_has_biases_0_where_it_never_was(architecture, kind):
    model = add_new(tiny_model(architecture))
    add_word_head(model, kind, "words")
    model.set_active_embeddings("default")
    head = model.heads["words"]
    assert head.tied and not any(bias.any() for bias in head.biases.values())
    assert all(bias.size(-1) == model.config.vocab_size for bias in head.biases.values())


@pytest.mark.parametrize(("architecture", "kind"), WORDS)
def test_a_new_head_of_an_old_name_has_not_the_old_ones_biases(architecture, kind):
    model = tiny_model(architecture)
    add_word_head(model, kind, "words")
    biased(add_new(model))
    model.set_active_embeddings("default")
    add_word_head(model, kind, "another")
    model.heads["another"].name = "words"
    model.add_prediction_head(model.heads["another"], overwrite_ok=True)
    model.set_active_embeddings("new")
    assert not any(bias.any() for bias in model.heads["words"].biases.values())
    biased(model).set_active_embeddings("default")
    for name in ("words", "another"):
        model.delete_head(name)
    assert not any(".heads." in name for name in model.state_dict())


def test_an_embedding_is_trained_if_the_one_that_it_takes_the_place_of_is():
    model = tiny_model(NAMES[0])
    add_new(model, "trained")
    model.freeze_model()
    add_new(model, "frozen")
    assert [token.weight.requires_grad for token in model.loaded_embeddings.values()] == [False, False, False]
    model.freeze_model(False)
    assert [token.weight.requires_grad for token in model.loaded_embeddings.values()] == [True, True, True]
    add_new(model, "another")
    assert model.base.token.weight.requires_grad
