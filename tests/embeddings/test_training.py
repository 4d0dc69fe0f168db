"""Law 9 with embeddings: the active one is trained if that is asked for, and no other ever."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.adapting import add_random, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.heads import add_head, head_types, labels_for
from tests.helpers.tiny import NAMES, tiny_model
from tests.helpers.vocabularies import add_new, add_word_head, word_types


def add(model, kind):
    """Add a head, which has the token embedding's weight if it is one that scores a vocabulary."""
    (add_word_head if kind in word_types(model) else add_head)(model, kind, "mine")


def trained(architecture, kind, embedding, train_embeddings):
    """A model, its tensors before a step of training, and after."""
    model = tiny_model(architecture)
    add_random(model, "mine", "lora")
    add(model, kind)
    add_new(model)
    add_new(model, "bystander")
    model.set_active_embeddings(embedding)
    model.train_adapter("mine", train_embeddings=train_embeddings)
    batch = batch_for(model, rows=8, decoder=False)
    before = tensors_of(model)
    # With decay, so that what has a gradient of 0 is seen to be trained as well.
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5)
    model(**batch, **labels_for(model, kind, batch)).loss.backward()
    optimizer.step()
    return model, before, tensors_of(model)


def moved(before, after):
    assert list(before) == list(after)
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def kinds(architecture):
    """A type of head that scores a vocabulary, and one that classifies, where there is one."""
    model = tiny_model(architecture)
    return [word_types(model)[0], *(kind for kind in head_types(model) if kind == "classification")]


HEADS = [(name, kind) for name in NAMES for kind in kinds(name)]


@pytest.mark.parametrize("embedding", ["default", "new"])
@pytest.mark.parametrize("train_embeddings", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_only_adapter_head_and_the_active_embedding_move(architecture, kind, train_embeddings, embedding):
    model, before, after = trained(architecture, kind, embedding, train_embeddings)
    head = model.heads["mine"]
    own = {f"heads.mine.{name}" for name, _ in head.named_parameters() if name not in head.tied}
    own |= {name for name in before if name.startswith("adapters.mine.")}
    shared = {"base.token.weight", *(f"heads.mine.{name}" for name in head.tied)}  # one tensor, whatever it is called
    assert moved(before, after) == own | (shared if train_embeddings else set())


@pytest.mark.parametrize("architecture", NAMES)
def test_the_next_training_freezes_what_the_last_one_trained(architecture):
    model = tiny_model(architecture)
    add_random(model, "mine", "lora")
    add_new(model)
    model.train_adapter("mine", train_embeddings=True)
    model.set_active_embeddings("default")
    assert not model.base.token.weight.requires_grad and model.loaded_embeddings["new"].weight.requires_grad
    model.train_adapter("mine")
    assert not any(token.weight.requires_grad for token in model.loaded_embeddings.values())


@pytest.mark.parametrize("architecture", NAMES)
def test_a_tied_embedding_learns_from_both_ends(architecture):
    model = tiny_model(architecture)
    kind = word_types(model)[0]
    add_random(model, "mine", "lora")
    add(model, kind)
    add_new(model)
    model.train_adapter("mine", train_embeddings=True)
    batch = batch_for(model, rows=1, length=4, decoder=False)
    model(**batch, **labels_for(model, kind, batch)).loss.backward()
    # The softmax reaches every token, the input only those that are in it.
    assert bool((model.base.token.weight.grad.abs().sum(1) > 0).all())
