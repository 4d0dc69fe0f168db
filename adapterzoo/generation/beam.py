"""Beam search: the likeliest continuations of several sequences at once, and beam sampling.

Shapes: B inputs, K beams, R = B·K rows, V vocabulary, N candidates of a step, P tokens of the prompt, L the most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from adapterzoo.generation.processors import Processor
from adapterzoo.generation.steps import Decoder, Ends, Told

FAR = -1.0e9
"""Added to the score of what may not be chosen. Finite, so that it may be chosen where there is nothing else."""


@dataclass(frozen=True, kw_only=True)
class BeamOptions:
    """How beam search chooses.

    Attributes:
        beams: K.
        length_penalty: p of a finished sequence's score, log-probability / (new tokens)^p.
        early_stopping: when an input is done: with K finished sequences (True), when no running one is likely to become
            better (False), or when none can ("never").
        do_sample: whether a step's candidates are drawn.
        returned: sequences for each input.
    """

    beams: int
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    do_sample: bool = False
    returned: int = 1


class Hypotheses(NamedTuple):
    """Sequences of each input, the best first.

    Attributes:
        tokens: (B, n, L).
        trail: (B, n, L - P), the row that each new token was chosen in; -1 after the end.
        scores: (B, n).
        done: (B, n), whether they have ended.
    """

    tokens: Tensor
    trail: Tensor
    scores: Tensor
    done: Tensor

    def pick(self, index: Tensor) -> Hypotheses:
        """Those at `index` (B, m)."""
        return Hypotheses(
            self.tokens.gather(1, index[..., None].expand(-1, -1, self.tokens.size(2))),
            self.trail.gather(1, index[..., None].expand(-1, -1, self.trail.size(2))),
            self.scores.gather(1, index),
            self.done.gather(1, index),
        )

    def best(self, count: int) -> Hypotheses:
        """The `count` with the highest scores."""
        return self.pick(self.scores.topk(count)[1])

    def and_(self, others: Hypotheses) -> Hypotheses:
        """These, and others after them."""
        return Hypotheses(*(torch.cat(pair, 1) for pair in zip(self, others, strict=True)))


class Candidates(NamedTuple):
    """How sequences may go on, the best first, (B, N) all.

    Attributes:
        parents: the beams that they go on from.
        token: with which token.
        scores: what they score then.
        done: whether they end so.
    """

    parents: Tensor
    token: Tensor
    scores: Tensor
    done: Tensor

    def first(self, count: int) -> Candidates:
        """The `count` best."""
        return Candidates(*(tensor[:, :count] for tensor in self))

    def best(self, scores: Tensor, count: int) -> Candidates:
        """The `count` best by other scores, with these."""
        scores, index = scores.topk(count)
        return Candidates(
            self.parents.gather(1, index), self.token.gather(1, index), scores, self.done.gather(1, index)
        )


class Found(NamedTuple):
    """Sequences (B·returned, T), their scores (B·returned,), and the rows that their tokens were chosen in."""

    sequences: Tensor
    scores: Tensor
    beam_indices: Tensor


class BeamSearch:
    """One run of beam search.

    Args:
        decoder: gives the logits.
        ids: (R, P), the prompt, each input's K times.
        process: what changes the log-probabilities.
        ends: when sequences end.
        options: how to choose.
        generator: what to draw by; PyTorch's own if None.
    """

    def __init__(
        self,
        decoder: Decoder,
        ids: Tensor,
        process: Processor,
        ends: Ends,
        options: BeamOptions,
        generator: torch.Generator | None = None,
    ) -> None:
        self.decoder, self.process, self.ends, self.options = decoder, process, ends, options
        self.generator = generator
        rows, self.prompt = ids.shape
        self.length, self.inputs = self.prompt, rows // options.beams
        self.running = self._start(ids)
        self.finished = self.running._replace(scores=torch.full_like(self.running.scores, FAR))
        self.improvable = torch.ones(self.inputs, 1, dtype=torch.bool, device=ids.device)
        self.firsts = torch.arange(self.inputs, device=ids.device)[:, None] * options.beams

    def _start(self, ids: Tensor) -> Hypotheses:
        shape = (self.inputs, self.options.beams)
        tokens = ids.new_full((*shape, self.ends.max_length), self.ends.padding)
        tokens[..., : self.prompt] = ids.view(*shape, self.prompt)
        trail = ids.new_full((*shape, self.ends.max_length - self.prompt), -1)
        scores = torch.full(shape, FAR, device=ids.device)
        scores[:, 0] = 0.0  # an input's beams are alike as yet: only the first one's continuations count
        return Hypotheses(tokens, trail, scores, torch.zeros(shape, dtype=torch.bool, device=ids.device))

    def run(self, told: Told) -> Found:
        """The best sequences.

        Args:
            told: is given each step's scores and logits.
        """
        new = self.running.tokens[..., : self.prompt]
        while True:
            logits = self.decoder.step(new.flatten(0, 1))
            scores = self.process(self.running.tokens[..., : self.length].flatten(0, 1), logits.log_softmax(-1))
            candidates = self._candidates(scores)
            self._finish(candidates)
            self._go_on(candidates)
            new = self.running.tokens[..., self.length - 1 : self.length]
            told(scores, logits)
            if self._over(candidates):
                return self._found()

    def _candidates(self, scores: Tensor) -> Candidates:
        """The N best ways to go on of each input: as many as leave K that do not end."""
        beams, vocabulary = self.options.beams, scores.size(-1)
        count = max(2, 1 + (0 if self.ends.tokens is None else len(self.ends.tokens))) * beams
        total = scores.view(self.inputs, beams, vocabulary) + self.running.scores[..., None]
        total = total.flatten(1)
        if self.options.do_sample:
            index = torch.multinomial(total.softmax(-1), count, generator=self.generator)
            best = total.gather(1, index)
        else:
            best, index = total.topk(count)
        parents, token = index // vocabulary, index % vocabulary
        full = self.length + 1 >= self.ends.max_length
        return Candidates(
            parents, token, best, torch.ones_like(token, dtype=torch.bool) if full else self.ends.hit(token)
        )

    def _sequences(self, candidates: Candidates) -> Hypotheses:
        """The sequences that go on in these ways."""
        chosen = self.running.pick(candidates.parents)
        chosen.tokens[..., self.length] = candidates.token
        chosen.trail[..., self.length - self.prompt] = candidates.parents + self.firsts
        return chosen._replace(scores=candidates.scores, done=candidates.done)

    def _finish(self, candidates: Candidates) -> None:
        """Keep the best K of what was finished before and of what ends here, if that is among the best K."""
        candidates = candidates.first(self._beams)
        ended = candidates.done
        if not bool(ended.any()):
            return
        closed = self.finished.done.all(-1, keepdim=True) & (self.options.early_stopping is True)
        scores = candidates.scores / (self.length + 1 - self.prompt) ** self.options.length_penalty
        for barred in (closed, ~self.improvable, ~ended):
            scores = scores + barred.to(scores.dtype) * FAR
        self.finished = self.finished.and_(self._sequences(candidates._replace(scores=scores))).best(self._beams)

    def _go_on(self, candidates: Candidates) -> None:
        """Go on with the best K of what does not end."""
        scores = candidates.scores + candidates.done.to(candidates.scores.dtype) * FAR
        self.running = self._sequences(candidates.best(scores, self._beams))
        self.decoder.reorder(self.running.trail[..., self.length - self.prompt].flatten())
        self.length += 1

    @property
    def _beams(self) -> int:
        return self.options.beams

    def _over(self, candidates: Candidates) -> bool:
        """Whether no input can become better, or all have what they need, or every continuation ended."""
        penalty, early = self.options.length_penalty, self.options.early_stopping
        longest = early == "never" and penalty > 0.0
        length = (self.ends.max_length if longest else self.length) - self.prompt
        possible = self.running.scores[:, :1] / length**penalty
        worst = torch.where(self.finished.done, self.finished.scores.amin(1, keepdim=True), FAR)
        self.improvable = self.improvable & (possible > worst).any(-1, keepdim=True)
        over = ~self.improvable.any() | candidates.done.all() | (self.finished.done.all() & (early is True))
        return bool(over)

    def _found(self) -> Found:
        best = Hypotheses(*(tensor[:, : self.options.returned].flatten(0, 1) for tensor in self.finished))
        length = int((best.trail >= 0).sum(1).max())
        return Found(best.tokens[:, : self.prompt + length], best.scores, best.trail[:, :length])
