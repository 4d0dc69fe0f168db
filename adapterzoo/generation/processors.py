"""What options do to the scores of the next token. Each is called with ids (R, T) and scores (R, V) and returns scores.

Shapes: R rows (inputs × beams), T tokens so far, V vocabulary, n tokens of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Processor = Callable[[Tensor, Tensor], Tensor]

NEVER = -math.inf
"""The score of a token that may not come."""


def token_mask(tokens: Sequence[int] | Tensor, scores: Tensor) -> Tensor:
    """(V,) True at these tokens; tokens that the vocabulary does not have are passed over."""
    ids = torch.as_tensor(tokens, device=scores.device)
    return torch.isin(torch.arange(scores.size(-1), device=scores.device), ids)


def without(tokens: Sequence[int] | Tensor, scores: Tensor) -> Tensor:
    """The scores, with NEVER for these tokens; tokens that the vocabulary does not have are passed over."""
    listed = tokens.tolist() if isinstance(tokens, Tensor) else tokens
    columns = [token for token in listed if token < scores.size(-1)]
    return scores.index_fill(-1, torch.tensor(columns, dtype=torch.int64, device=scores.device), NEVER)


@dataclass(frozen=True, eq=False)
class RepetitionPenalty:
    """s ← s / penalty, or s · penalty below 0, for tokens that are there already (arXiv:1909.05858)."""

    penalty: float

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        own = scores.gather(1, ids)
        return scores.scatter(1, ids, torch.where(own < 0, own * self.penalty, own / self.penalty))


def following(ids: Tensor, text: Tensor, n: int, vocabulary: int) -> Tensor:
    """(R, V) True at tokens with which `ids` (R, T) would end in a run of n tokens that `text` (R, S) holds."""
    rows, length = ids.shape
    if text.size(1) < n or length < n - 1:
        return torch.zeros(rows, vocabulary, dtype=torch.bool, device=ids.device)
    runs = text.unfold(1, n, 1)
    same = (runs[..., :-1] == ids[:, None, length - n + 1 :]).all(-1)
    hits = torch.zeros(rows, vocabulary, device=ids.device)
    return hits.scatter_add_(1, runs[..., -1], same.to(hits.dtype)) > 0


@dataclass(frozen=True, eq=False)
class NoRepeatNGram:
    """No run of n tokens comes twice."""

    n: int

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        return scores.masked_fill(following(ids, ids, self.n, scores.size(-1)), NEVER)


@dataclass(frozen=True, eq=False)
class NoRepeatSourceNGram:
    """No run of n tokens of an input (B, S) comes in its output; R is a multiple of B."""

    n: int
    source: Tensor

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        source = self.source.repeat_interleave(ids.size(0) // self.source.size(0), 0)
        return scores.masked_fill(following(ids, source, self.n, scores.size(-1)), NEVER)


@dataclass(frozen=True, eq=False)
class NoBadWords:
    """Runs of tokens that may not come; an end alone is none of them."""

    words: Sequence[Sequence[int]]
    ends: Tensor | None

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        ends = [] if self.ends is None else self.ends.tolist()
        banned = torch.zeros_like(scores, dtype=torch.bool)
        for *start, last in self.words:
            if not start and last in ends:
                continue
            if ids.size(1) > len(start) or not start:
                banned[:, last] |= (ids[:, ids.size(1) - len(start) :] == ids.new_tensor(start)).all(1)
        return scores.masked_fill(banned, NEVER)


@dataclass(frozen=True, eq=False)
class MinLength:
    """No end before a sequence has so many tokens."""

    length: int
    ends: Tensor

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        return without(self.ends, scores) if ids.size(1) < self.length else scores


@dataclass(frozen=True, eq=False)
class Forced:
    """Nothing but these tokens where a sequence has `length` tokens; all of them score 0."""

    length: int
    tokens: Sequence[int]

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        if ids.size(1) != self.length:
            return scores
        return torch.full_like(scores, NEVER).masked_fill(token_mask(self.tokens, scores), 0.0)


@dataclass(frozen=True, eq=False)
class Suppressed:
    """Tokens that may not come; where a sequence has `length` tokens, or anywhere if that is None."""

    tokens: Sequence[int]
    length: int | None = None

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        if self.length is not None and ids.size(1) != self.length:
            return scores
        return without(self.tokens, scores)


def finite(ids: Tensor, scores: Tensor) -> Tensor:
    """0 for what is no number, the largest and the least number for what is infinite."""
    return torch.nan_to_num(scores)


@dataclass(frozen=True, eq=False)
class LengthDecay:
    """s ← s + |s| · (factor^k - 1) for ends, k tokens after the `start`-th of a sequence; what may not come may not."""

    start: int
    factor: float
    ends: Tensor

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        beyond = ids.size(1) - self.start
        if beyond <= 0:
            return scores
        grown = scores + scores.abs() * (self.factor**beyond - 1)
        return torch.where(token_mask(self.ends, scores) & scores.isfinite(), grown, scores)


def normalised(ids: Tensor, scores: Tensor) -> Tensor:
    """Log-probabilities."""
    return scores.log_softmax(-1)


@dataclass(frozen=True, eq=False)
class Chain:
    """Processors, one after the other."""

    parts: Sequence[Processor]

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after all of them."""
        for part in self.parts:
            scores = part(ids, scores)
        return scores
