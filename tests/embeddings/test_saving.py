"""Law 5 with embeddings: what is saved and loaded is what it was, bit for bit; HF's file holds the model's own."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.conversion.convert import as_it_is
from adapterzoo.conversion.output import write
from tests.helpers.adapting import add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, leaves
from tests.helpers.every_class import CLASSES, tiny_of
from tests.helpers.heads import add_head, head_types
from tests.helpers.naming import ODD
from tests.helpers.refusing import files_of
from tests.helpers.tiny import NAMES, class_named, randomise, tiny_model
from tests.helpers.vocabularies import NEW, OLD, add_new, add_word_head, biased, tokenizer_of, vocab_folder, word_types

ACTIVE = pytest.mark.parametrize("active", ["default", "new"])


def with_heads(architecture):
    """A flexible model with a head of every type, an adapter, and two more embeddings."""
    model = tiny_model(architecture)
    for kind in head_types(model):
        (add_word_head if kind in word_types(model) else add_head)(model, kind, kind)
    add_random(model, "en", "lora")
    add_new(model)
    model.add_embeddings("en.wiki/2", tokenizer_of(OLD))
    return biased(model)


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_of_every_class(name, tmp_path):
    model = tiny_of(name)
    plain = zoo.CLASSES[name](type(model.config).from_dict(model.config.to_dict()))
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(tmp_path / "plain")
    biased(add_new(model)).save_pretrained(tmp_path / "whole")
    files = [tmp_path / folder / "model.safetensors" for folder in ("plain", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()
    loaded = zoo.CLASSES[name].from_pretrained(tmp_path / "whole")
    assert loaded.active_embeddings == "new"
    assert loaded.config.vocab_size == loaded.base.config.vocab == model.config.vocab_size
    assert same_bits(tensors_of(loaded), tensors_of(model))
    batch = batch_for(model, decoder=False)
    expected = leaves(model(**batch))
    for field, tensor in leaves(loaded(**batch)).items():
        assert_close(tensor, expected[field], field)
    assert loaded.embeddings_tokenizer("new").get_vocab() == tokenizer_of(NEW).get_vocab()


@pytest.mark.parametrize("active", ["default", "new", "en.wiki/2"])
@pytest.mark.parametrize("architecture", NAMES)
def test_a_flexible_model_with_every_head(architecture, active, tmp_path):
    model = with_heads(architecture)
    model.set_active_embeddings(active)
    model.save_pretrained(tmp_path)
    loaded = class_named(architecture, "AdapterModel").from_pretrained(tmp_path)
    assert list(loaded.loaded_embeddings) == list(model.loaded_embeddings) == ["default", "new", "en.wiki/2"]
    for name in (active, *model.loaded_embeddings):
        for each in (model, loaded):
            each.set_active_embeddings(name)
        assert same_bits(tensors_of(loaded.base), tensors_of(model.base))
        assert same_bits(tensors_of(loaded.heads), tensors_of(model.heads))
        assert loaded.get_prediction_heads_config() == model.get_prediction_heads_config()


@ACTIVE
@pytest.mark.parametrize("architecture", NAMES)
def test_saving_changes_nothing(architecture, active, tmp_path):
    model = with_heads(architecture)
    model.set_active_embeddings(active)
    before, parameters = tensors_of(model), dict(model.named_parameters())
    model.save_pretrained(tmp_path)
    assert same_bits(tensors_of(model), before)
    assert all(dict(model.named_parameters())[name] is parameter for name, parameter in parameters.items())
    first = files_of(tmp_path)
    class_named(architecture, "AdapterModel").from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert files_of(tmp_path) == first


@ACTIVE
@pytest.mark.parametrize("name", ["de", *ODD])
def test_an_embedding_of_any_name(name, active, tmp_path):
    model = tiny_model(NAMES[0])
    for kind in word_types(model):
        add_word_head(model, kind, f"{name}.{kind}")
    biased(add_new(model, name))
    state = tensors_of(model)
    model.set_active_embeddings("default" if active == "default" else name)
    model.save_embeddings(tmp_path, name, tokenizer_of(NEW))
    model.delete_embeddings(name)
    assert model.load_embeddings(tmp_path, name).get_vocab() == tokenizer_of(NEW).get_vocab()
    assert model.active_embeddings == name
    assert same_bits(tensors_of(model), state)


@pytest.mark.parametrize("architecture", NAMES)
def test_an_embedding_goes_from_one_model_to_another(architecture, tmp_path):
    model, other = with_heads(architecture), tiny_model(architecture)
    model.save_embeddings(tmp_path, "new")
    assert other.load_embeddings(tmp_path, "moved") is None
    assert other.embeddings_tokenizer() is None
    assert torch.equal(other.base.token.weight, model.loaded_embeddings["new"].weight)
    assert not any(".heads." in name for name in other.state_dict())


@pytest.mark.parametrize("architecture", NAMES)
def test_the_models_own_embedding_may_be_saved_and_loaded_under_another_name(architecture, tmp_path):
    model = tiny_model(architecture)
    model.save_embeddings(tmp_path, "default", tokenizer_of(OLD))
    model.load_embeddings(tmp_path, "twin")
    assert model.base.token.weight is not model.loaded_embeddings["default"].weight
    assert torch.equal(model.base.token.weight, model.loaded_embeddings["default"].weight)


def test_files_are_safetensors_and_the_tokenizers_own(tmp_path):
    model = with_heads(NAMES[0])
    tokenizer_of(NEW).save_pretrained(tmp_path / "expected")
    model.save_embeddings(tmp_path / "saved", "new", tokenizer_of(NEW))
    expected = {f"tokenizer/{name}": content for name, content in files_of(tmp_path / "expected").items()}
    found = files_of(tmp_path / "saved")
    assert found.keys() == {"embedding.safetensors", "tokenizer", *expected}
    assert {name: found[name] for name in expected} == expected
    held = safetensors.torch.load_file(tmp_path / "saved" / "embedding.safetensors")
    assert torch.equal(held.pop("weight"), model.loaded_embeddings["new"].weight)
    assert all(name.startswith("heads.") for name in held)


def test_a_loaded_embedding_outlives_its_file(tmp_path):
    model = with_heads(NAMES[0])
    model.save_embeddings(tmp_path, "new", tokenizer_of(NEW))
    other = tiny_model(NAMES[0])
    other.load_embeddings(tmp_path, "new")
    expected = other.base.token.weight.detach().clone()
    (tmp_path / "embedding.safetensors").write_bytes(b"0" * 8000)
    assert torch.equal(other.base.token.weight, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_an_embedding_is_loaded_in_the_models_dtype(dtype, tmp_path):
    model = with_heads(NAMES[0])
    model.save_pretrained(tmp_path)
    loaded = class_named(NAMES[0], "AdapterModel").from_pretrained(tmp_path, dtype=dtype)
    same = {token.weight.dtype for token in loaded.loaded_embeddings.values()}
    assert same == {dtype}
    own = model.loaded_embeddings["new"].weight
    assert torch.equal(loaded.loaded_embeddings["new"].weight, own.to(dtype))


@pytest.mark.parametrize("architecture", NAMES)
def test_conversion_keeps_them(architecture, tmp_path):
    model = with_heads(architecture)
    model.save_pretrained(tmp_path / "source")
    checkpoint = open_checkpoint(tmp_path / "source")
    (tmp_path / "target").mkdir()
    write(as_it_is(checkpoint), tmp_path / "target", None, lambda step: None)
    loaded = class_named(architecture, "AdapterModel").from_pretrained(tmp_path / "target")
    assert loaded.active_embeddings == "en.wiki/2"
    assert same_bits(tensors_of(loaded.embeddings), tensors_of(model.embeddings))


@pytest.mark.parametrize("architecture", NAMES)
def test_transformers_opens_a_model_with_its_own_embedding(architecture, tmp_path):
    transformers = pytest.importorskip("transformers")
    if None not in ARCHITECTURES[architecture].classes:
        pytest.skip("every class has a head")
    model = tiny_model(architecture, "Model")
    batch = batch_for(model, decoder=False)
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
    randomise(add_new(model).base.token)
    model.save_pretrained(tmp_path)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = theirs(**batch).last_hidden_state
    mask = batch["attention_mask"].bool()
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "slow"])
def test_transformers_tokenizers_serve_as_well(fast, tmp_path):
    transformers = pytest.importorskip("transformers")
    kind = transformers.BertTokenizerFast if fast else transformers.BertTokenizer
    old, new = (kind.from_pretrained(vocab_folder(tmp_path / str(len(each)), each)) for each in (OLD, NEW))
    model, ours = tiny_model(NAMES[0]), add_new(tiny_model(NAMES[0]))
    model.base.load_state_dict({**model.base.state_dict(), "token.weight": ours.loaded_embeddings["default"].weight})
    model.add_embeddings("new", new, "default", old)
    shared = [row for row, token in enumerate(NEW) if token in OLD]
    assert torch.equal(model.base.token.weight[shared], ours.base.token.weight[shared])
    model.save_embeddings(tmp_path / "saved", "new", new)
    assert model.load_embeddings(tmp_path / "saved", "again").get_vocab() == new.get_vocab()
    assert kind.from_pretrained(tmp_path / "saved" / "tokenizer").get_vocab() == new.get_vocab()
