"""Batches of a number of tokens: every text once, the longest first, none over the budget but a text alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from adapterzoo.texts import CHUNK, Texts, longest_of
from tests.throughput.models import model, some_texts, tokenizer, words


@pytest.mark.parametrize("budget", [1, 8, 17, 40, 10_000])
def test_every_text_is_in_one_batch_and_the_budget_is_kept(budget: int) -> None:
    texts = some_texts(30)
    made = list(Texts(tokenizer(), texts, None).batches(budget))
    assert sorted(row for batch in made for row in batch.rows) == list(range(30))
    assert all(sum(batch.lengths) <= budget or len(batch.rows) == 1 for batch in made)
    lengths = [length for batch in made for length in batch.lengths]
    assert lengths == sorted(lengths, reverse=True)
    for batch, after in pairwise(made):
        assert sum(batch.lengths) + after.lengths[0] > budget, "the next text would have had a place"


def test_a_batch_holds_what_the_tokenizer_makes_of_its_texts() -> None:
    texts, tokens = [*some_texts(9), ("a b", "c d e"), ""], tokenizer()
    for batch in Texts(tokens, texts, 12).batches(30):
        whole = tokens(
            [texts[row] for row in batch.rows], padding=True, truncation=True, max_length=12, return_tensors="pt"
        )
        for key in ("input_ids", "attention_mask"):
            assert torch.equal(batch.inputs[key], whole[key]), key
        second = [isinstance(texts[row], tuple) for row in batch.rows]
        assert [bool(row.any()) for row in batch.inputs["token_type_ids"]] == second


def test_what_is_no_text_is_told_by_its_number_among_all() -> None:
    texts = ["a"] * (CHUNK + 5)
    assert Texts(tokenizer(), texts, None).lengths == [3] * len(texts)
    texts[CHUNK + 2] = 3  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=f"entry {CHUNK + 2}"):
        Texts(tokenizer(), texts, None)


def test_the_longest_row_is_the_models_or_the_tokenizers_or_as_asked() -> None:
    network = model(max_position_embeddings=16).base.config
    assert longest_of(tokenizer(20), network, None) == 16
    assert longest_of(tokenizer(10), network, None) == 10
    assert longest_of(tokenizer(10), network, 12) == 12
    with pytest.raises(ValueError, match="positions for 16"):
        longest_of(tokenizer(), network, 17)
    assert Texts(tokenizer(), [words(50)], 16).lengths == [16]
