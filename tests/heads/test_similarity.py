"""Embeddings of texts: pooling, normalising, and the two losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo import AutoAdapterModel, AutoTokenizer
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.heads.similarity import POOLINGS
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.heads import add_head, questions
from tests.helpers.tiny import randomise, tiny_model

KIND = "similarity"
ARCHS = [name for name, architecture in ARCHITECTURES.items() if KIND in architecture.heads]
SENTENCES = ["The cat sits on the mat.", "A cat is sitting on a mat, quietly.", "Interest rates rose again."]


def make(architecture: str, **settings: Any) -> Any:
    model = tiny_model(architecture).eval()
    add_head(model, KIND, "mine", **{"embedding_size": None, **settings})
    return model


def by_hand(pooling: str, hidden: Tensor) -> Tensor:
    """One row's pooling, without padding; the classification token of a decoder is its last."""
    return {"mean": hidden.mean(0), "max": hidden.amax(0)}[pooling]


@pytest.mark.parametrize("pooling", [name for name in POOLINGS if name != "cls"])
@pytest.mark.parametrize("architecture", ARCHS)
def test_each_row_is_pooled_over_its_own_tokens(architecture: str, pooling: str) -> None:
    model = make(architecture, pooling=pooling, normalize=False)
    batch = batch_for(model, decoder=False)
    hidden = model(**batch, output_hidden_states=True)
    found = hidden.embeddings
    model.active_head = None
    states = model(**batch).last_hidden_state
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        assert_close(found[row], by_hand(pooling, states[row, :length]), f"row {row}")


@pytest.mark.parametrize("architecture", ARCHS)
def test_the_classification_token_is_the_one_that_classifiers_read(architecture: str) -> None:
    model = make(architecture, pooling="cls", normalize=False)
    batch = batch_for(model, decoder=False)
    found = model(**batch).embeddings
    model.active_head = None
    output = model(**batch)
    last = batch["attention_mask"].sum(1) - 1
    at = last if "encoder_last_hidden_state" in output else torch.zeros_like(last)
    assert_close(found, output.last_hidden_state[torch.arange(len(at)), at])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("architecture", ARCHS)
def test_embeddings_have_length_one_and_the_width_asked_for(architecture: str, pooling: str) -> None:
    model = make(architecture, pooling=pooling, embedding_size=7, activation_function="tanh")
    batch = batch_for(model, decoder=False)
    found = model(**batch).embeddings
    assert found.shape == (len(batch["input_ids"]), 7)
    assert_close(found.norm(dim=1), torch.ones(len(found)))
    assert model(**batch, return_dict=False)[0].equal(found)


@pytest.mark.parametrize("architecture", ARCHS)
def test_texts_given_together_have_the_embeddings_that_they_have_alone(architecture: str) -> None:
    model = make(architecture)
    batch = batch_for(model, rows=6, decoder=False)
    together = model(**questions(batch)).embeddings
    assert together.shape[:2] == (3, 2)
    assert torch.equal(together.flatten(0, 1), model(**batch).embeddings)


@pytest.mark.parametrize("architecture", ARCHS)
def test_numbers_say_how_alike_two_texts_are(architecture: str) -> None:
    model = make(architecture, normalize=False)
    batch, labels = questions(batch_for(model, rows=6, decoder=False)), torch.rand(3)
    output = model(**batch, labels=labels)
    alike = [F.cosine_similarity(*pair, dim=0) for pair in output.embeddings]
    assert_close(output.loss, torch.stack([(a - b) ** 2 for a, b in zip(alike, labels, strict=True)]).mean())


@pytest.mark.parametrize("architecture", ARCHS)
def test_a_head_without_tensors_is_saved_and_loaded(architecture: str, tmp_path: Path) -> None:
    model = make(architecture, pooling="max", normalize=False)
    assert not list(model.heads["mine"].parameters())
    batch = batch_for(model, decoder=False)
    expected = model(**batch).embeddings
    model.save_head(tmp_path / "head", "mine")
    model.delete_head("mine")
    model.load_head(tmp_path / "head")
    assert torch.equal(model(**batch).embeddings, expected)
    model.save_pretrained(tmp_path / "model")
    assert torch.equal(AutoAdapterModel.from_pretrained(tmp_path / "model")(**batch).embeddings, expected)


def picked(embeddings: Tensor, labels: Tensor, scale: float) -> Tensor:
    """The loss of picking answers by its definition, one place after the other."""
    unit, losses = F.normalize(embeddings, dim=-1), []
    for place, about in enumerate(labels.tolist()):
        if about == -100:
            continue
        candidates = [unit[place, 1], *unit[place, 2:]]
        for other, theirs in enumerate(labels.tolist()):
            if other != place:
                candidates += [*unit[other, 2:], *([unit[other, 1]] if theirs in (-100,) or theirs != about else [])]
        scores = scale * torch.stack([unit[place, 0] @ candidate for candidate in candidates])
        losses.append(F.cross_entropy(scores, torch.tensor(0)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("texts", [2, 3])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 1, 5], [0, -100, 2, -100]])
@pytest.mark.parametrize("architecture", ARCHS)
def test_whole_numbers_say_what_each_place_is_about(architecture: str, labels: list[int], texts: int) -> None:
    model = make(architecture, scale=3.0)
    batch = batch_for(model, rows=4 * texts, decoder=False)
    batch = {name: tensor.unflatten(0, (4, texts)) for name, tensor in batch.items()}
    output = model(**batch, labels=torch.tensor(labels))
    assert_close(output.loss, picked(output.embeddings, torch.tensor(labels), 3.0))


def test_training_brings_pairs_together() -> None:
    model = make(ARCHS[0], embedding_size=8)
    model.train_adapter(added(model))
    batch = questions(batch_for(model, rows=8, decoder=False))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model(**batch, labels=torch.arange(4)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def added(model: Any) -> str:
    model.add_adapter("pairs", "lora")
    randomise(model.adapters["pairs"], 0.05)
    return "pairs"


def test_minilm_gives_the_embeddings_that_its_card_computes(minilm_dir: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the embeddings are compared with transformers'")
    ours = AutoAdapterModel.from_pretrained(minilm_dir)
    ours.add_similarity_head("sentence")
    batch = AutoTokenizer.from_pretrained(minilm_dir)(SENTENCES, padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    theirs = transformers.AutoModel.from_pretrained(minilm_dir).eval()
    with torch.no_grad():
        hidden, mask = theirs(**inputs).last_hidden_state, inputs["attention_mask"][..., None].float()
        expected = F.normalize((hidden * mask).sum(1) / mask.sum(1), p=2, dim=1)
        found = ours(**inputs).embeddings
    assert_close(found, expected)
    alike = found @ found.T
    assert alike[0, 1] > alike[0, 2]
