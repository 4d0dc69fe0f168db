"""Named embeddings: what the peer gets right is the same here, and its files are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.answers import answer
from tests.helpers.head_cases import HEAD_CASES
from tests.helpers.method_cases import each_architecture
from tests.helpers.peer_adapters import adapters, hidden, inputs_of, off, our_model, peer_model, real_positions, same
from tests.helpers.vocabularies import NEW, OLD, shared_ids, vocab_folder
from tests.parity_adapters.conftest import Pair

OWN, THEIRS = shared_ids()


@pytest.fixture
def tokenizers(tmp_path: Path) -> tuple[Any, Any]:
    """Transformers' tokenizers of OLD and of NEW."""
    transformers = pytest.importorskip("transformers")
    made = [
        transformers.BertTokenizerFast.from_pretrained(vocab_folder(tmp_path / name, tokens))
        for name, tokens in {"old": OLD, "new": NEW}.items()
    ]
    return made[0], made[1]


@pytest.fixture
def pair_of(base_dir: Callable[[Architecture], Path]) -> Iterator[Callable[[Architecture], Pair]]:
    """A function from an architecture to a pair of its own: the peer's embeddings cannot all be taken away."""

    def make(kind: Architecture) -> Pair:
        if not hasattr(adapters(), f"{kind.name}AdapterModel"):
            pytest.skip(f"adapters has no flexible model of {kind.name}")
        return Pair(peer_model(kind, base_dir(kind)), our_model(kind, base_dir(kind)))

    yield make


def small(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same inputs with ids of the smaller vocabulary."""
    return {key: value % len(NEW) if key.endswith("input_ids") else value for key, value in inputs.items()}


@each_architecture
def test_an_embedding_is_added_with_the_same_rows(
    pair_of: Callable[[Architecture], Pair], architecture: Architecture, tokenizers: tuple[Any, Any]
) -> None:
    pair, (old, new) = pair_of(architecture), tokenizers
    for model in pair:
        model.add_embeddings("new", new, "default", old)
        assert model.active_embeddings == "new" and list(model.loaded_embeddings) == ["default", "new"]
        assert model.config.vocab_size == len(NEW)
    theirs, ours = (model.get_input_embeddings().weight for model in pair)
    assert ours.shape == theirs.shape
    assert torch.equal(ours[OWN], theirs[OWN])
    for model in pair:
        model.delete_embeddings("new")
        assert model.active_embeddings == "default" and list(model.loaded_embeddings) == ["default"]
        assert model.config.vocab_size == 99


@each_architecture
def test_the_peers_file_is_read(
    pair_of: Callable[[Architecture], Pair], architecture: Architecture, tokenizers: tuple[Any, Any], tmp_path: Path
) -> None:
    pair, (_, new) = pair_of(architecture), tokenizers
    pair.theirs.add_embeddings("new", new)
    torch.nn.init.normal_(pair.theirs.get_input_embeddings().weight)
    pair.theirs.save_embeddings(str(tmp_path / "with"), "new", new)
    pair.theirs.save_embeddings(str(tmp_path / "without"), "new")
    assert pair.ours.load_embeddings(tmp_path / "without", "first") is None
    assert pair.ours.load_embeddings(tmp_path / "with", "second").get_vocab() == new.get_vocab()
    factor = pair.ours.base.config.first.embed_scale
    pair.theirs.get_input_embeddings().weight.data *= factor  # which the peer loses; see the last test
    inputs = small(inputs_of(architecture))
    expected, where = hidden(pair.theirs, inputs), real_positions(inputs)
    for name in ("first", "second"):
        pair.ours.set_active_embeddings(name)
        same(hidden(pair.ours, inputs), expected, where)
    for model in pair:
        model.set_active_embeddings("default")
    inputs = inputs_of(architecture)
    same(hidden(pair.ours, inputs), hidden(pair.theirs, inputs), where)


@each_architecture
def test_only_the_embedding_in_use_is_trained_with_an_adapter(
    pair_of: Callable[[Architecture], Pair], architecture: Architecture, tokenizers: tuple[Any, Any]
) -> None:
    for model in pair_of(architecture):
        model.add_embeddings("new", tokenizers[1])
        model.add_adapter("a", config="lora")
        model.train_adapter("a", train_embeddings=True)
        assert model.get_input_embeddings().weight.requires_grad
        model.train_adapter("a")
        assert not model.get_input_embeddings().weight.requires_grad


@each_architecture
def test_a_tied_head_scores_the_tokens_of_the_embedding_in_use(
    pair_of: Callable[[Architecture], Pair], architecture: Architecture, tokenizers: tuple[Any, Any], tmp_path: Path
) -> None:
    pair = pair_of(architecture)
    case = HEAD_CASES["seq2seq-lm" if "seq2seq_lm" in architecture.heads else "masked-lm"]
    case.add(pair.theirs, "h")
    pair.theirs.save_head(str(tmp_path), "h")
    pair.ours.load_head(tmp_path)
    pair.theirs.add_embeddings("new", tokenizers[1])
    pair.theirs.save_embeddings(str(tmp_path), "new")
    pair.ours.load_embeddings(tmp_path, "new")
    inputs = small(inputs_of(architecture))
    theirs, ours = (answer(model, inputs).logits for model in pair)
    assert (ours.size(-1), theirs.size(-1)) == (len(NEW), 99)
    # The law: with the weight that the peer does not tie anew.
    last = next(module for module in reversed(pair.theirs.heads["h"]) if isinstance(module, torch.nn.Linear))
    rows = pair.theirs.get_input_embeddings().weight
    last.weight, last.bias = torch.nn.Parameter(rows.detach().clone()), None
    rows.data *= pair.ours.base.config.first.embed_scale  # which the peer loses, too; see the last test
    same(ours, answer(pair.theirs, inputs).logits, real_positions(inputs))


@each_architecture
def test_a_models_factor_on_embeddings_is_there_with_every_embedding(
    pair_of: Callable[[Architecture], Pair], architecture: Architecture, tmp_path: Path
) -> None:
    pair = pair_of(architecture)
    if pair.ours.base.config.first.embed_scale == 1:
        pytest.skip("the model has no such factor")
    inputs = inputs_of(architecture)
    law, where = hidden(pair.theirs, inputs), real_positions(inputs)
    pair.theirs.save_embeddings(str(tmp_path), "default")
    for model in pair:
        model.load_embeddings(str(tmp_path), "twin")
    same(hidden(pair.ours, inputs), law, where)
    off(hidden(pair.theirs, inputs), law, where)


class Gaps:
    """A tokenizer of three tokens whose ids go up to 9."""

    def __len__(self) -> int:
        return 3

    def get_vocab(self) -> dict[str, int]:
        """The tokens."""
        return {"old1": 0, "old2": 9, "new": 4}

    def save_pretrained(self, save_directory: str) -> None:
        """It is not saved."""


def test_ids_with_gaps_have_a_row_each(pair_of: Callable[[Architecture], Pair], tokenizers: tuple[Any, Any]) -> None:
    pair, old = pair_of(ARCHITECTURES["bert"]), tokenizers[0]
    pair.ours.add_embeddings("gaps", Gaps(), "default", old)
    rows = pair.ours.loaded_embeddings["default"].weight[[OLD.index("old1"), OLD.index("old2")]]
    assert torch.equal(pair.ours.base.token.weight[[0, 9]], rows) and len(pair.ours.base.token.weight) == 10
    with pytest.raises(IndexError):
        pair.theirs.add_embeddings("gaps", Gaps(), "default", old)


def test_the_paddings_row_is_0_and_not_trained(
    pair_of: Callable[[Architecture], Pair], tokenizers: tuple[Any, Any]
) -> None:
    padding, trained = NEW.index("[PAD]"), []
    for model in pair_of(ARCHITECTURES["bert"]):
        model.add_embeddings("new", tokenizers[1])
        row = model.get_input_embeddings().weight
        row.requires_grad_(True)
        model(torch.tensor([[0, padding, 1]]))[0].square().sum().backward()
        trained.append((bool(row[padding].any()), bool(row.grad[padding].any())))
    assert trained == [(True, True), (False, False)]


def test_a_saved_models_file_holds_its_own_embedding(
    pair_of: Callable[[Architecture], Pair], tokenizers: tuple[Any, Any], tmp_path: Path
) -> None:
    held = []
    for name, model in zip(("theirs", "ours"), pair_of(ARCHITECTURES["bert"]), strict=True):
        model.add_embeddings("new", tokenizers[1])
        model.save_pretrained(tmp_path / name)
        held.append(safetensors.torch.load_file(tmp_path / name / "model.safetensors"))
    key = "embeddings.word_embeddings.weight"
    assert [len(next(rows for name, rows in file.items() if name.endswith(key))) for file in held] == [len(NEW), 99]
