"""Tokens as they come: to a streamer, or one step after the other; and what draws them."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.generating import generator_of, prompt_of
from tests.helpers.refusing import refuses
from tests.helpers.tiny import decoders

ENDS = {"eos_token_id": [4, 9, 33, 50], "forced_eos_token_id": None}
OPTIONS: dict[str, Any] = {"max_new_tokens": 6, "no_repeat_ngram_size": 1, **ENDS}


class Listener:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.heard: list[Tensor] = []
        self.ended = 0

    def put(self, value: Tensor) -> None:
        assert not self.ended
        self.heard.append(value)

    def end(self) -> None:
        self.ended += 1


@pytest.fixture(scope="module", params=list(decoders())[:2])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return generator_of(request.param)


def test_a_streamer_hears_the_prompt_and_then_each_token(model: Any) -> None:
    listener = Listener()
    found = model.generate(**prompt_of(model), **OPTIONS, streamer=listener)
    prompt, *tokens = listener.heard
    assert torch.equal(torch.cat([prompt, torch.stack(tokens, 1)], 1), found)
    assert listener.ended == 1 and len(tokens) > 1


def test_a_stream_gives_each_step_s_tokens(model: Any) -> None:
    inputs = prompt_of(model)
    for options in ({}, {"do_sample": True, "num_return_sequences": 2}):
        torch.manual_seed(1)
        found = model.generate(**inputs, **OPTIONS, **options)
        torch.manual_seed(1)
        tokens = torch.stack(list(model.generate_stream(**inputs, **OPTIONS, **options)), 1)
        assert torch.equal(tokens, found[:, -tokens.size(1) :])


def test_a_stream_may_be_left_early(model: Any) -> None:
    inputs = prompt_of(model)
    stream = model.generate_stream(**inputs, **OPTIONS)
    first = next(stream)
    assert torch.is_grad_enabled(), "between steps, gradients are what they were"
    stream.close()
    assert torch.equal(first, model.generate(**inputs, **{**OPTIONS, "max_new_tokens": 1})[:, -1])


def test_a_streamer_of_transformers_can_be_used(model: Any) -> None:
    transformers = pytest.importorskip("transformers")

    class Letters:
        def decode(self, ids: list[int], **options: Any) -> str:
            return "".join(chr(64 + token) for token in ids)

    inputs = {name: tensor[:1] for name, tensor in prompt_of(model).items()}
    with redirect_stdout(io.StringIO()) as out:
        found = model.generate(**inputs, **OPTIONS, streamer=transformers.TextStreamer(Letters()))
    assert out.getvalue() == Letters().decode(found[0].tolist()) + "\n"


def test_beams_cannot_be_streamed(model: Any) -> None:
    with refuses(ValueError, "num_beams=2", "cannot be streamed", model=model):
        model.generate(**prompt_of(model), num_beams=2, streamer=Listener())
    with refuses(ValueError, "num_beams=2", "cannot be streamed", model=model):
        model.generate_stream(**prompt_of(model), num_beams=2)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_generator_draws_the_same_again(model: Any, beams: int) -> None:
    inputs = prompt_of(model)

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        found: Tensor = model.generate(**inputs, **OPTIONS, do_sample=True, num_beams=beams, generator=generator)
        return found

    state = torch.random.get_rng_state()
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.random.get_rng_state(), state), "PyTorch's own generator was used"
