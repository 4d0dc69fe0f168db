"""Every change of scores is that of transformers' own class, for random ids and scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo.generation import GenerationConfig, drawing
from adapterzoo.generation.rules import ends_of, processors

VOCABULARY, PROMPT = 12, 3
MODEL: dict[str, Any] = {"eos_token_id": [2, 7], "pad_token_id": 1, "max_new_tokens": 6}
CHANGES: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.6},
    *({"no_repeat_ngram_size": n} for n in (1, 2, 3, 12)),
    *({"encoder_no_repeat_ngram_size": n} for n in (1, 2, 3, 12)),
    {"bad_words_ids": [[4], [5, 6], [2], [2, 8], [0, 1, 2], [6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6]]},
    *({"min_length": n} for n in (1, 4, 7)),
    *({"min_new_tokens": n} for n in (1, 4, 6)),
    {"forced_bos_token_id": 5},
    {"forced_eos_token_id": 2},
    {"forced_eos_token_id": [2, 7]},
    {"remove_invalid_values": True},
    {"exponential_decay_length_penalty": (1, 1.5)},
    {"exponential_decay_length_penalty": (0, 0.7)},
    {"suppress_tokens": [3, 4, 100]},
    {"begin_suppress_tokens": [3, 4]},
    {"begin_suppress_tokens": [3, 4], "forced_bos_token_id": 5},
    {"renormalize_logits": True},
]
DRAWS: list[dict[str, Any]] = [
    {"temperature": 0.3},
    {"temperature": 2.0},
    *({"top_k": k} for k in (0, 1, 3, 50)),
    *({"top_k": 0, "top_p": p} for p in (0.0, 0.1, 0.7, 0.99)),
    *({"top_k": 0, "min_p": p} for p in (0.0, 0.2, 1.0)),
    *({"top_k": 0, "typical_p": p} for p in (0.1, 0.6, 0.99)),
    {"temperature": 0.8, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.95, "renormalize_logits": True},
]
EVERYTHING: dict[str, Any] = {
    key: value for changes in (*CHANGES, *DRAWS[:1]) for key, value in changes.items() if key != "min_new_tokens"
}


def theirs(options: dict[str, Any], prompt: int, source: Tensor) -> Any:
    """Transformers' processors for these options, made as its `generate` makes them."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GenerationConfig(**options)
    config.max_length = prompt + config.max_new_tokens
    if config.min_new_tokens is not None:
        config.min_length = prompt + config.min_new_tokens
    config._eos_token_tensor = torch.tensor(config.eos_token_id)
    return transformers.GenerationMixin()._get_logits_processor(config, prompt, source, device="cpu")


def ours(options: dict[str, Any], prompt: int, source: Tensor) -> Any:
    config = GenerationConfig(**options)
    return processors(config, ends_of(config, prompt + config.max_new_tokens, source.device), prompt, source)


def compare(options: dict[str, Any], prompt: int = PROMPT) -> Tensor:
    """Compare both at every length of a sequence; returns the last scores."""
    beams = options.get("num_beams", 1)
    source = torch.randint(VOCABULARY, (4, 7))
    there, here = theirs(options, prompt, source), ours(options, prompt, source)
    for length in range(prompt, prompt + options["max_new_tokens"]):
        ids = torch.randint(VOCABULARY, (4 * beams, length))
        scores = torch.randn(4 * beams, VOCABULARY) * 2
        scores[:, 9] = -torch.inf
        if options.get("remove_invalid_values"):
            scores[0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
        before = scores.clone()
        expected = there(ids, scores.clone())
        found = here(ids, scores)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(scores, before, rtol=0, atol=0, equal_nan=True)  # it is the caller's
    return found


@pytest.mark.parametrize("prompt", [1, PROMPT])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_an_option_changes_scores_as_in_transformers(changes: dict[str, Any], prompt: int) -> None:
    compare({**MODEL, **changes}, prompt)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("changes", DRAWS, ids=str)
def test_an_option_of_sampling_changes_scores_as_in_transformers(changes: dict[str, Any], beams: int) -> None:
    compare({**MODEL, **changes, "do_sample": True, "num_beams": beams})


@pytest.mark.parametrize("prompt", [1, PROMPT])
def test_all_options_together_come_in_the_order_of_transformers(prompt: int) -> None:
    compare({**MODEL, **EVERYTHING, "do_sample": True}, prompt)
    compare({**MODEL, **EVERYTHING, "do_sample": True, "num_beams": 3, "min_new_tokens": 2}, prompt)


def test_beams_of_an_input_may_not_repeat_that_input() -> None:
    compare({**MODEL, "encoder_no_repeat_ngram_size": 2, "num_beams": 3})


@pytest.mark.parametrize("kind", [drawing.TopK(1, 4), drawing.TopP(0.01, 4), drawing.MinP(0.999, 4)])
def test_at_least_so_many_tokens_are_kept(kind: Any) -> None:
    scores = torch.randn(5, VOCABULARY)
    assert (kind(None, scores).isfinite().sum(1) == 4).all()
