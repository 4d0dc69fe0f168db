"""Small tokenizers whose vocabularies share some tokens, for embeddings that are made from each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from adapterzoo import Tokenizer
from tests.helpers.heads import add_head, head_types

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
OLD = (*SPECIALS, *(f"old{number}" for number in range(20)), *(f"both{number}" for number in range(30)))
NEW = (*(f"both{number}" for number in range(29, 4, -1)), *(f"new{number}" for number in range(11)), *SPECIALS[::-1])
"""Two vocabularies, of 55 tokens and of 41: 30 are in both, elsewhere."""


def vocab_folder(folder: Path, tokens: Sequence[str]) -> Path:
    """Write a BERT tokenizer of these tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder


def tokenizer_of(tokens: Sequence[str]) -> Tokenizer:
    """A tokenizer of these tokens, in this order."""
    with TemporaryDirectory() as folder:
        return Tokenizer.from_pretrained(vocab_folder(Path(folder), tokens))


def shared_ids() -> tuple[list[int], list[int]]:
    """The ids in NEW and in OLD of what is in both."""
    both = [token for token in NEW if token in OLD]
    return [NEW.index(token) for token in both], [OLD.index(token) for token in both]


def add_new(model: Any, name: str = "new", reference: str | None = "default") -> Any:
    """Add an embedding for NEW with random rows, or with rows of a reference that is for OLD; return the model."""
    more = {} if reference is None else {"reference_embedding": reference, "reference_tokenizer": tokenizer_of(OLD)}
    model.add_embeddings(name, tokenizer_of(NEW), **more)
    return model


def word_types(model: Any) -> list[str]:
    """The types of heads that score a vocabulary, and may have the token embedding's weight."""
    return [kind for kind in head_types(model) if kind.endswith("_lm")]


def add_word_head(model: Any, kind: str, name: str) -> None:
    """Add a head of such a type with the token embedding's weight, however wide that is, and with biases."""
    add_head(model, kind, name, layers=2, bias=True, embedding_size=model.base.token.embedding_dim)
    assert model.heads[name].tied and model.heads[name].biases


def biased(model: Any) -> Any:
    """Give every bias over the vocabulary random values, and return the model."""
    with torch.no_grad():
        for head in model.heads_of().values():
            for bias in head.biases.values():
                bias.normal_()
    return model
