"""A trained BART spells words into sounds, each as with transformers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo import BartAdapterModel, BartForConditionalGeneration
from tests.helpers import real
from tests.helpers.hf_models import transformers
from tests.helpers.hf_real import SPELLED, bart

BATCH = 100
OPTIONS: dict[str, Any] = {"max_new_tokens": 60}
GREEDY, BEAMS = {"num_beams": 1}, {"num_beams": 4}


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """Transformers' model and ours."""
    folder = bart()
    theirs = transformers.BartForConditionalGeneration.from_pretrained(folder).eval()
    return theirs, BartForConditionalGeneration.from_pretrained(folder)


def written(words: list[str], config: Any) -> dict[str, Tensor]:
    """Words by their letters."""
    alphabet = config.grapheme_chars
    rows = [[config.bos_token_id, *(alphabet.index(letter) for letter in word), config.eos_token_id] for word in words]
    ids = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), True, config.pad_token_id)
    return {"input_ids": ids, "attention_mask": (ids != config.pad_token_id).long()}


def spoken(ids: Tensor, config: Any) -> list[str]:
    """Sounds of sequences, without special tokens."""
    return ["".join(config.phoneme_chars[token] for token in row if token >= 4) for row in ids.tolist()]


def batches(count: int, config: Any) -> Iterator[dict[str, Tensor]]:
    """Words from the dictionary, drawn once and for all."""
    try:
        known = real.english_words()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    fitting = [word for word in known if 1 < len(word) <= 30 and set(word) <= set(config.grapheme_chars[4:])]
    words = random.Random(0).sample(fitting, count)
    for first in range(0, count, BATCH):
        yield written(words[first : first + BATCH], config)


def compare(models: tuple[Any, Any], count: int, options: dict[str, Any]) -> None:
    theirs, ours = models
    said: list[str] = []
    for inputs in batches(count, theirs.config):
        found = ours.generate(**inputs, **OPTIONS, **options)
        assert torch.equal(found, theirs.generate(**inputs, **OPTIONS, **options))
        said += spoken(found, theirs.config)
    assert len(said) == count and len(set(said)) > 0.9 * count


@pytest.mark.parametrize("options", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_thousands_of_words_are_spoken_as_with_transformers(models: tuple[Any, Any], options: dict[str, Any]) -> None:
    compare(models, 2000, options)


@pytest.mark.parametrize("options", [GREEDY, BEAMS, {"use_cache": False}], ids=str)
def test_known_words_are_spoken_as_they_should(models: tuple[Any, Any], options: dict[str, Any]) -> None:
    ours = models[1]
    found = ours.generate(**written(list(SPELLED), ours.config), **options)
    assert spoken(found, ours.config) == list(SPELLED.values())


def test_a_flexible_model_speaks_as_the_fixed_one(models: tuple[Any, Any]) -> None:
    flexible = BartAdapterModel.from_pretrained(bart())
    inputs = written(list(SPELLED), flexible.config)
    assert torch.equal(flexible.generate(**inputs, **BEAMS), models[1].generate(**inputs, **BEAMS))


def test_half_precision_speaks_the_same_words() -> None:
    ours = BartForConditionalGeneration.from_pretrained(bart(), dtype="bfloat16")
    found = ours.generate(**written(["hello"], ours.config))
    assert spoken(found, ours.config) == [SPELLED["hello"]]
