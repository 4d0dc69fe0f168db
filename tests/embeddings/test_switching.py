"""Laws of switching: a model with another embedding is a model of that vocabulary, and the way back restores it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from adapterzoo import Stack, zoo
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import CONFIGS, add_random, presets, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_same
from tests.helpers.every_class import CLASSES, IDS, VARIANTS, tiny_of
from tests.helpers.heads import add_head, head_types
from tests.helpers.naming import ODD
from tests.helpers.refusing import refuses, state_of
from tests.helpers.tiny import NAMES, class_named, randomise, tiny_config, tiny_model, tiny_size
from tests.helpers.vocabularies import NEW, OLD, add_new, add_word_head, biased, tokenizer_of, word_types

every_class = pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=IDS)


def flexible(architecture):
    """The name of an architecture's flexible class."""
    return f"{ARCHITECTURES[architecture].name}AdapterModel"


def furnished(name, changes=None):
    """A small model of a class; a flexible one has a head of every type."""
    model = tiny_of(name, changes)
    if hasattr(model, "heads"):
        for kind in head_types(model):
            (add_word_head if kind in word_types(model) else add_head)(model, kind, kind)
        model.active_head = word_types(model)[0]
    return model


def without_embeddings(model):
    """The state of all but embeddings that are not in use."""
    return {name: tensor for name, tensor in tensors_of(model).items() if not name.startswith("embeddings.")}


def of_that_vocabulary(model):
    """A model that was made for the vocabulary of the embedding in use, with the same weights."""
    other = type(model)(type(model.config).from_dict(model.config.to_dict()))
    for name, config in model.adapters.configs():
        other.add_adapter(name, config)
    for name, head in getattr(model, "heads", {}).items():
        other.add_prediction_head_from_config(name, head.config)
    other.load_state_dict(without_embeddings(model))
    other.base.config = model.base.config  # the padding is the tokenizer's, which no config says
    other.set_active_adapters(model.active_adapters)
    if hasattr(model, "heads"):
        other.active_head = model.active_head
    return other


@every_class
def test_with_another_embedding_it_is_a_model_of_that_vocabulary(name, changes):
    model = biased(add_new(furnished(name, changes)))
    assert model.base.config.vocab == model.config.vocab_size == model.get_input_embeddings().num_embeddings == len(NEW)
    batch = batch_for(model, decoder=False)
    assert_same(model(**batch), of_that_vocabulary(model)(**batch))


@every_class
def test_switching_back_and_forth_restores_every_bit(name, changes):
    model = furnished(name, changes)
    first, batch = state_of(model), batch_for(model, decoder=False)
    output, parameters = model(**batch), dict(model.named_parameters())
    biased(add_new(model))
    second, other_batch = state_of(model), batch_for(model, decoder=False)
    other_output = model(**other_batch)
    model.set_active_embeddings("default")
    assert_same(model(**batch), output)
    assert all(dict(model.named_parameters())[key] is parameter for key, parameter in parameters.items())
    model.set_active_embeddings("new")
    assert_same(model(**other_batch), other_output)
    assert state_of(model) == second
    model.delete_embeddings("new")
    assert model.active_embeddings == "default" and list(model.loaded_embeddings) == ["default"]
    assert state_of(model) == first


@pytest.mark.parametrize("name", CLASSES)
def test_heads_with_the_embeddings_weight_follow_it_and_others_stay(name):
    model = furnished(name)
    heads = model.heads_of()
    tied = {key: head for key, head in heads.items() if head.tied}
    assert all(head.tied or not head.biases for head in heads.values())
    before = {key: tensors_of(head) for key, head in heads.items() if key not in tied}
    add_new(model)
    for head in tied.values():
        assert head.decoder.weight is model.base.token.weight
        assert head.decoder.out_features == head.config["vocab_size"] == len(NEW)
        assert all(bias.size(-1) == len(NEW) for bias in head.biases.values())
    assert all(same_bits(tensors_of(heads[key]), state) for key, state in before.items())


@pytest.mark.parametrize("architecture", NAMES)
def test_a_head_with_a_weight_of_its_own_does_not_follow(architecture):
    model = tiny_model(architecture, tie_word_embeddings=False)
    add_head(model, word_types(model)[0], "own")
    before = tensors_of(model.heads["own"])
    add_new(model)
    assert same_bits(tensors_of(model.heads["own"]), before)
    assert model(**batch_for(model, decoder=False)).logits.size(-1) == tiny_size("vocab_size") != len(NEW)


@pytest.mark.parametrize("kind", presets())
@pytest.mark.parametrize("architecture", NAMES)
def test_every_method_acts_on_another_embedding(architecture, kind):
    model = tiny_model(architecture)
    add_random(model, kind)
    add_new(model)
    model.set_active_adapters(kind)
    batch = batch_for(model, decoder=False)
    output = model(**batch)
    assert_same(output, of_that_vocabulary(model)(**batch))
    model.set_active_adapters(None)
    assert not torch.equal(model(**batch)[0], output[0])


@pytest.mark.parametrize("architecture", NAMES)
def test_ids_are_checked_against_the_embedding_in_use(architecture):
    model = add_new(tiny_model(architecture))
    ids, more, name = torch.tensor([[len(NEW)]]), {}, "input_ids"
    if not model.base.config.one_vocabulary:
        more, name = {"input_ids": ids}, "decoder_input_ids"  # the encoder has a vocabulary of its own
    with refuses(ValueError, f"{name} holds {len(NEW)}", f"from 0 to {len(NEW) - 1}"):
        model(**more, **{name: ids})
    model(**more, **{name: ids - 1})
    model.set_active_embeddings("default")
    model(**more, **{name: ids})


@pytest.mark.parametrize("architecture", NAMES)
def test_the_callers_config_is_left_alone(architecture):
    config = tiny_config(architecture)
    before = copy.deepcopy(config.to_dict())
    model = add_new(class_named(architecture, "AdapterModel")(config))
    assert model.config.vocab_size == len(NEW) and config.to_dict() == before
    differing = {key for key, value in model.config.to_dict().items() if value != before[key]}
    assert differing <= {"vocab_size", "decoder"}
    model.set_active_embeddings("default")
    assert model.config.to_dict() == before


@pytest.mark.parametrize("architecture", NAMES)
def test_embeddings_may_have_any_names(architecture):
    model = tiny_model(architecture)
    for name in ODD:
        model.add_embeddings(name, tokenizer_of(NEW))
    assert list(model.loaded_embeddings) == ["default", *ODD]
    weights = {name: token.weight for name, token in model.loaded_embeddings.items()}
    for name in reversed(["default", *ODD]):
        model.set_active_embeddings(name)
        assert model.active_embeddings == name
        assert model.get_input_embeddings().weight is weights[name]
        assert {key: token.weight is weights[key] for key, token in model.loaded_embeddings.items()} == dict.fromkeys(
            model.loaded_embeddings, True
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("architecture", NAMES)
def test_a_new_embedding_has_the_models_dtype_and_goes_with_it(architecture, dtype):
    model = furnished(flexible(architecture)).to(dtype)
    add_new(model)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {dtype}
    model.set_active_embeddings("default")
    model.float()
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("architecture", NAMES)
def test_a_copy_has_embeddings_of_its_own(architecture, duplicate):
    model = add_new(furnished(flexible(architecture)))
    add_random(model, "a", CONFIGS["lora"])
    model.set_active_adapters(Stack("a"))
    twin, batch = duplicate(model), batch_for(model, decoder=False)
    before = model(**batch)
    assert_same(twin(**batch), before)
    randomise(twin.base)
    twin.set_active_embeddings("default")
    assert model.active_embeddings == "new" and model.config.vocab_size == len(NEW)
    assert twin.embeddings_tokenizer("new").get_vocab() == model.embeddings_tokenizer().get_vocab()
    assert_same(model(**batch), before)
    assert all(head.decoder.weight is twin.base.token.weight for head in twin.heads_of().values() if head.tied)


@pytest.mark.parametrize("name", [name for name in CLASSES if zoo.CLASSES[name].static is not None])
def test_a_model_recast_to_another_class_has_the_same_embeddings(name):
    model = tiny_of(name)
    biased(add_new(model))
    twin = model.to_flexible("head").to_static("head", name)
    assert twin.active_embeddings == "new" and twin.embeddings_tokenizer() is model.embeddings_tokenizer()
    for active in ("new", "default"):
        for each in (model, twin):
            each.set_active_embeddings(active)
        assert same_bits(tensors_of(twin), tensors_of(model))
        assert twin.config == model.config
        assert twin.head.tied == model.head.tied


@pytest.mark.slow
def test_a_compiled_network_goes_on_with_another_embedding():
    torch._dynamo.reset()
    model = tiny_model(NAMES[0], "Model")
    model.base.compile(fullgraph=True, backend="eager")
    for name in ("default", "new", "default"):
        if name not in model.loaded_embeddings:
            add_new(model)
        model.set_active_embeddings(name)
        batch = batch_for(model, decoder=False)
        with torch.no_grad():
            found = model(**batch)[0]
            with torch.compiler.set_stance("force_eager"):
                torch.testing.assert_close(found, model(**batch)[0], rtol=1e-5, atol=1e-5)
    torch._dynamo.reset()


def test_the_tokenizer_of_an_embedding_is_known():
    model = tiny_model(NAMES[0])
    tokenizer = tokenizer_of(OLD)
    model.add_embeddings("old", tokenizer)
    assert model.embeddings_tokenizer() is model.embeddings_tokenizer("old") is tokenizer
    assert model.embeddings_tokenizer("default") is None
