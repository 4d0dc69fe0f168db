"""`generate` gives token for token what transformers gives, under random options on random models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.generating import (
    ENDS,
    GENERATES,
    PROMPT,
    TOKENS,
    draw_options,
    generating_pair,
    prompt_for,
    seq2seq,
    theirs,
)
from tests.helpers.hf_compare import close
from tests.helpers.hf_models import Case, each

DRAWS = 21
SEEDS = 3  # models of each class
PLAIN: dict[str, Any] = {"eos_token_id": ENDS, "pad_token_id": 1, "max_new_tokens": 10}
# Transformers says what is unusual about options; here that is meant.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers.generation")


def same(
    case: Case, options: dict[str, Any], inputs: dict[str, Tensor] | None = None, seed: int = 0, weights: int = 0
) -> Tensor:
    """Both generate the same, with the random weights of that number; returns it."""
    there, here = generating_pair(case, weights)
    inputs = prompt_for(case, there.config) if inputs is None else inputs
    expected = theirs(there, inputs, options, seed)
    torch.manual_seed(seed)
    found = here.generate(**inputs, **options)
    assert torch.equal(found, expected), f"{options}\n{found}\n{expected}"
    return found


@each(GENERATES)
def test_greedy_and_beam_search_are_those_of_transformers(case: Case) -> None:
    found = set()
    for number in range(DRAWS):
        torch.manual_seed(number)
        found.add(tuple(same(case, draw_options(number), weights=number % SEEDS).flatten().tolist()))
    assert len(found) > DRAWS // 2, "hardly anything that could differ"


@each(GENERATES)
def test_sampling_draws_as_transformers_does(case: Case) -> None:
    for number in range(DRAWS // 2):
        torch.manual_seed(number)
        same(case, draw_options(number, sampling=True), seed=number, weights=number % SEEDS)


@each(GENERATES)
@pytest.mark.parametrize("beams", [1, 3])
def test_scores_and_logits_are_those_of_transformers(case: Case, beams: int) -> None:
    there, here = generating_pair(case)
    inputs = prompt_for(case, there.config)
    asked = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    options = {**PLAIN, **asked, "num_beams": beams, "repetition_penalty": 1.2}
    expected, found = theirs(there, inputs, options), here.generate(**inputs, **options)
    assert torch.equal(found.sequences, expected.sequences)
    assert len(found.scores) == len(expected.scores) > 1
    for name in ("scores", "logits"):
        for ours, other in zip(found[name], expected[name], strict=True):
            close(ours, other, name)
    if beams > 1:
        close(found.sequences_scores, expected.sequences_scores)
        assert torch.equal(found.beam_indices, expected.beam_indices.long())
    else:
        assert found.sequences_scores is None and found.beam_indices is None


@each(GENERATES)
def test_without_a_mask_padding_is_told_by_its_token(case: Case) -> None:
    there, _ = generating_pair(case)
    inputs = prompt_for(case, there.config)
    padding = {**PLAIN, "pad_token_id": there.config.pad_token_id}
    told = same(case, padding, inputs)
    assert torch.equal(same(case, padding, {"input_ids": inputs["input_ids"]}), told)


@each(GENERATES)
def test_the_length_left_at_its_default_is_that_of_transformers(case: Case) -> None:
    options = {"eos_token_id": None, "forced_eos_token_id": None, "pad_token_id": 1}
    there, _ = generating_pair(case)
    for length in (1, 15, 30):
        ids = torch.randint(4, TOKENS, (2, length))
        found = same(case, options, {"input_ids": ids})
        prompt = 1 if seq2seq(case) else length
        assert found.size(1) == min(prompt + 20, getattr(there.config, "max_position_embeddings", prompt + 20))


@each([case for case in GENERATES if not seq2seq(case)])
def test_without_a_prompt_the_first_token_begins(case: Case) -> None:
    assert same(case, {**PLAIN, "bos_token_id": 9}, {})[0, 0] == 9


@each([case for case in GENERATES if seq2seq(case)])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("start", [2, 50])
@pytest.mark.parametrize("masked", [False, True])
def test_an_encoder_decoder_goes_on_from_a_prompt(case: Case, beams: int, start: int, masked: bool) -> None:
    there, _ = generating_pair(case)
    inputs = prompt_for(case, there.config)
    inputs["decoder_input_ids"] = torch.randint(4, TOKENS, (3, PROMPT))
    inputs["decoder_input_ids"][:, 0] = start
    if masked:
        inputs["decoder_attention_mask"] = (torch.arange(PROMPT) >= torch.tensor([[0], [2], [1]])).long()
    found = same(case, {**PLAIN, "decoder_start_token_id": 2, "num_beams": beams}, inputs)
    assert (found[:, 0] == 2).all() and found.size(1) > PROMPT + 1


@each([case for case in GENERATES if seq2seq(case)])
def test_an_encoder_s_output_may_be_given(case: Case) -> None:
    there, here = generating_pair(case)
    inputs = prompt_for(case, there.config)
    whole = here.generate(**inputs, **PLAIN, num_beams=2)
    mask = inputs["attention_mask"]
    encoded = here(**inputs, decoder_input_ids=inputs["input_ids"][:, :1]).encoder_last_hidden_state
    assert torch.equal(here.generate(encoder_outputs=(encoded,), attention_mask=mask, **PLAIN, num_beams=2), whole)
    given = {"encoder_hidden_states": encoded, "encoder_attention_mask": mask}
    assert torch.equal(here.generate(**given, **PLAIN, num_beams=2), whole)
