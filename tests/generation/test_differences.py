"""Where `generate` differs from transformers, and where it takes over what one would not expect."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo.generation.processors import NEVER, LengthDecay
from tests.helpers.generating import GENERATES, generating_pair, theirs
from tests.helpers.hf_models import Case, each, transformers

OPTIONS: dict[str, Any] = {"max_new_tokens": 6, "eos_token_id": None, "pad_token_id": 1}


def by_forward(model: Any, ids: Tensor) -> Tensor:
    """What one gets who takes the likeliest token of a forward again and again."""
    with torch.no_grad():
        for _ in range(OPTIONS["max_new_tokens"]):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return ids


def counts_from_padding(case: Case) -> bool:
    return case.alone and generating_pair(case)[1].base.config.last.padding_position is not None


@each([case for case in GENERATES if counts_from_padding(case)])
def test_positions_are_counted_from_0_unless_they_are_given(case: Case) -> None:
    there, here = generating_pair(case)
    ids = torch.randint(4, 99, (8, 5))
    expected = by_forward(there, ids)
    assert torch.equal(by_forward(here, ids), expected)
    told = theirs(there, {"input_ids": ids}, OPTIONS)
    assert torch.equal(here.generate(ids, **OPTIONS), told) and not torch.equal(told, expected)
    positions = (torch.arange(5) + here.config.pad_token_id + 1).expand_as(ids)
    assert torch.equal(here.generate(ids, position_ids=positions, **OPTIONS), expected)


@each([case for case in GENERATES if case.alone and not counts_from_padding(case)])
def test_elsewhere_generation_is_forward_again_and_again(case: Case) -> None:
    _, here = generating_pair(case)
    ids = torch.randint(4, 99, (8, 5))
    assert torch.equal(here.generate(ids, **OPTIONS), by_forward(here, ids))


@each([case for case in GENERATES if case.static is not None and case.static.decoder_only])
def test_a_decoder_with_more_layers_than_its_encoder_has_a_cache(case: Case) -> None:
    there, here = generating_pair(case)
    ids = torch.randint(4, 99, (2, 5))
    with pytest.raises(IndexError):
        there.generate(ids, **OPTIONS, use_cache=True)
    assert torch.equal(here.generate(ids, **OPTIONS, use_cache=True), theirs(there, {"input_ids": ids}, OPTIONS))


def test_an_end_that_is_forbidden_does_not_become_likelier() -> None:
    ids, scores = torch.zeros(1, 9, dtype=torch.long), torch.tensor([[0.5, NEVER, -1.0]])
    ends = torch.tensor([1, 2])
    assert LengthDecay(4, 1.5, ends)(ids, scores)[0, 1] == NEVER
    peer = transformers.generation.ExponentialDecayLengthPenalty((4, 1.5), ends, 0)
    assert peer(ids, scores)[0, 1].isnan()
