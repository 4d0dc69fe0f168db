"""The loops by themselves, on a decoder small enough that every sequence can be looked at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo.generation.beam import BeamOptions, BeamSearch, Found
from adapterzoo.generation.processors import Chain
from adapterzoo.generation.steps import Ends, each_token

VOCABULARY, END, PADDING, NEW = 4, 0, 3, 4
PROMPT = torch.tensor([[1, 2], [2, 2]])
ENDS = Ends(torch.tensor([END]), PADDING, PROMPT.size(1) + NEW)


class Toy:
    """A recurrent decoder: state ← tanh(state·W + e(token)), logits = state·U. It notices rows in the wrong order."""

    def __init__(self, rows: int) -> None:
        generator = torch.Generator().manual_seed(3)
        self.embed, self.within, self.out = (
            torch.randn(n, 8, generator=generator) for n in (VOCABULARY, 8, VOCABULARY)
        )
        self.state = torch.zeros(rows, 8)

    def step(self, ids: Tensor) -> Tensor:
        for token in ids.unbind(1):
            self.state = torch.tanh(self.state @ self.within * 0.5 + self.embed[token])
        return self.state @ self.out.T

    def reorder(self, rows: Tensor) -> None:
        self.state = self.state[rows]


def every_sequence(row: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """All continuations of a row's prompt, up to an end or the length, with their log-probabilities."""
    for length in range(1, NEW + 1):
        for tokens in itertools.product(range(VOCABULARY), repeat=length):
            if END in tokens[:-1] or (length < NEW and tokens[-1] != END):
                continue
            toy, chance = Toy(1), 0.0
            logits = toy.step(PROMPT[row : row + 1])
            for token in tokens:
                chance += float(logits.log_softmax(-1)[0, token])
                logits = toy.step(torch.tensor([[token]]))
            yield tokens, chance


def ignored(scores: Tensor, logits: Tensor) -> None:
    pass


def search(beams: int, **options: Any) -> Found:
    ids = PROMPT.repeat_interleave(beams, 0)
    return BeamSearch(Toy(len(ids)), ids, Chain([]), ENDS, BeamOptions(beams=beams, **options)).run(ignored)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0, -1.0])
def test_a_search_that_is_wide_enough_finds_the_best_sequences(penalty: float) -> None:
    returned = 6
    found = search(81, length_penalty=penalty, early_stopping="never", returned=returned)
    for row in range(2):
        ranked = sorted(((chance / len(t) ** penalty, t) for t, chance in every_sequence(row)), reverse=True)
        for place, (score, tokens) in enumerate(ranked[:returned]):
            filled = (*PROMPT[row].tolist(), *tokens, *[PADDING] * NEW)
            at = row * returned + place
            assert tuple(found.sequences[at].tolist()) == filled[: found.sequences.size(1)]
            assert float(found.scores[at]) == pytest.approx(score, rel=1e-5)


def test_a_wider_search_finds_nothing_worse() -> None:
    best = [search(beams, length_penalty=0.0, early_stopping="never").scores for beams in (1, 2, 4, 81)]
    assert all((wider >= narrower - 1e-6).all() for narrower, wider in itertools.pairwise(best))
    assert not torch.equal(best[0], best[-1])


def test_beam_indices_say_in_which_row_each_token_was_chosen() -> None:
    beams = 3
    scores: list[Tensor] = []
    ids = PROMPT.repeat_interleave(beams, 0)
    options = BeamOptions(beams=beams, length_penalty=0.0, returned=beams)
    found = BeamSearch(Toy(len(ids)), ids, Chain([]), ENDS, options).run(lambda s, _: scores.append(s))
    for sequence, trail, score in zip(found.sequences, found.beam_indices, found.scores, strict=True):
        new = sequence[PROMPT.size(1) :]
        chances = [scores[n][row, new[n]] for n, row in enumerate(trail) if row >= 0]
        assert float(sum(chances)) == pytest.approx(float(score), rel=1e-5)


def test_a_row_that_has_ended_is_filled_while_others_go_on() -> None:
    torch.manual_seed(1)
    ids = PROMPT.repeat_interleave(20, 0)
    tokens = torch.stack(list(each_token(Toy(40), ids, Chain([]), ENDS, ignored, do_sample=True)), 1)
    ended = (tokens == END).cumsum(1) > 0
    after = torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1)
    assert after.any() and not ended.all()
    assert (tokens[after] == PADDING).all()


def test_it_stops_when_all_rows_have_ended() -> None:
    class Ending(Toy):
        def step(self, ids: Tensor) -> Tensor:
            return super().step(ids) + 50 * torch.eye(VOCABULARY)[END]

    assert len(list(each_token(Ending(2), PROMPT, Chain([]), ENDS, ignored))) == 1
    ids = PROMPT.repeat_interleave(2, 0)
    found = BeamSearch(Ending(4), ids, Chain([]), ENDS, BeamOptions(beams=2, early_stopping=True)).run(ignored)
    assert found.sequences.tolist() == [[1, 2, END], [2, 2, END]]


def test_tokens_are_drawn_as_often_as_their_chances_say() -> None:
    rows = 20_000
    ids = PROMPT[:1].expand(rows, -1)
    drawn = next(each_token(Toy(rows), ids, Chain([]), ENDS, ignored, do_sample=True))
    chances = Toy(1).step(PROMPT[:1]).softmax(-1)[0]
    torch.testing.assert_close(drawn.bincount(minlength=VOCABULARY) / rows, chances, atol=0.02, rtol=0)
