"""Law 9: a training step moves every tensor of the adapter and its head, and no other."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import BatchSplit, Stack
from tests.helpers.adapting import CONFIGS, KINDS, add_random, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.heads import add_head, head_types, labels_for, model_for, shaped
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}
HEADS = [(name, kind) for name in DISTINCT for kind in head_types(tiny_model(name))]


def moved_by_a_step(model, batch, **call):
    """The names of the tensors that one step of plain gradient descent changes."""
    before = tensors_of(model)
    # A long step: a gate that is nearly closed has a gradient that float32 would lose beside the number it changes.
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e3)
    model(**batch, **call).loss.backward()
    optimizer.step()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def lm_head(model):
    """The type of head that scores every token of the last stack, so that nothing is without a gradient by chance."""
    return next(kind for kind in head_types(model) if kind.endswith("_lm"))


def trainable(module):
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def named(model, *prefixes):
    return {name for name in model.state_dict() if name.startswith(prefixes)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_kind", MODELS)
def test_only_the_adapter_and_its_head_move(model_kind, kind):
    model = MODELS[model_kind](model_kind)
    for name in (kind, "bystander"):
        add_random(model, name, model.adapters.get(kind))
        add_head(model, lm_head(model), name)
    model.train_adapter(kind)
    assert model.active_head == kind
    batch = batch_for(model, decoder=False)
    moved = moved_by_a_step(model, {**batch, **labels_for(model, lm_head(model), batch)})
    own = {f"heads.{kind}.{name}" for name in trainable(model.heads[kind])}
    assert moved == own | {f"adapters.{kind}.{name}" for name, _ in model.adapters[kind].named_parameters()}
    others = {f"heads.bystander.{name}" for name in trainable(model.heads["bystander"])}  # not in this forward
    assert set(trainable(model)) == moved | others


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_a_head_of_every_type_moves_but_not_what_it_shares_with_the_network(architecture, kind):
    model = model_for(kind, architecture)
    add_random(model, "mine", "lora")
    add_head(model, kind, "mine")
    model.train_adapter("mine")
    batch = batch_for(model, rows=8, decoder=False)
    batch = shaped(kind, batch)
    moved = moved_by_a_step(model, {**batch, **labels_for(model, kind, batch)})
    head = model.heads["mine"]
    own = {f"heads.mine.{name}" for name, _ in head.named_parameters() if name not in head.tied}
    assert set(trainable(model)) == own | named(model, "adapters.mine.")
    assert all(model.get_parameter(name).grad is not None for name in trainable(model))
    # A bias that adds the same to all logits of one softmax moves none of them, and so has the gradient 0.
    still = set(trainable(model)) - moved
    assert all(name.startswith("heads.mine.") and name.endswith(".bias") for name in still), still
    assert len(still) <= 1
    assert moved <= set(trainable(model))


@pytest.mark.parametrize("architecture", DISTINCT)
def test_every_adapter_of_a_setup_moves(architecture):
    model = tiny_model(architecture)
    for name in ("a", "b", "c", "bystander"):
        add_random(model, name, "lora")
    add_head(model, lm_head(model), "head")
    batch = batch_for(model, decoder=False)
    for setup in (Stack("a", "b", "c"), Stack("a", BatchSplit("b", "c", batch_sizes=2))):
        model.train_adapter(setup)
        moved = moved_by_a_step(model, {**batch, **labels_for(model, lm_head(model), batch)})
        head = {f"heads.head.{name}" for name in trainable(model.heads["head"])}
        assert moved == head | named(model, "adapters.a.", "adapters.b.", "adapters.c.")


@pytest.mark.parametrize("architecture", DISTINCT)
def test_adapters_by_row_train_together(architecture):
    model = tiny_model(architecture)
    for name in ("a", "b", "bystander"):
        add_random(model, name, CONFIGS["lora_all"])
        add_head(model, lm_head(model), name)
    model.train_adapter(Stack("a", "b"))
    batch = batch_for(model, decoder=False)
    labels = labels_for(model, lm_head(model), batch)
    moved = moved_by_a_step(model, {**batch, **labels}, adapter_names=["b", "a", "b", "a"])
    heads = {f"heads.{head}.{name}" for head in "ab" for name in trainable(model.heads[head])}
    assert moved == heads | named(model, "adapters.a.", "adapters.b.")


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_model_that_is_not_frozen_trains_whole(architecture):
    model = tiny_model(architecture).train()
    add_random(model, "mine", "lora")
    add_head(model, "classification", "mine")
    model.set_active_adapters("mine")
    batch = batch_for(model, decoder=False)
    moved = moved_by_a_step(model, {**batch, **labels_for(model, "classification", batch)})
    still = named(model, "") - moved
    assert all("pooler" in name or "position" in name for name in still), still
