"""What the loops share: the decoder that they ask, when they end, and greedy search and sampling, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from adapterzoo.generation.processors import Processor


class Decoder(Protocol):
    """What gives the next token's logits. It remembers the tokens that it was given. R rows: inputs × beams."""

    def step(self, ids: Tensor) -> Tensor:
        """The logits (R, V) after the last of these tokens, as float32.

        Args:
            ids: (R, T), the tokens that are new.
        """

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on where row `rows[i]` was; both are of the same input."""


class Ends(NamedTuple):
    """When sequences end, and what follows.

    Attributes:
        tokens: (E,) tokens that end a sequence, or None.
        padding: what fills a row after its end.
        max_length: tokens of a sequence at most.
    """

    tokens: Tensor | None
    padding: int
    max_length: int

    def hit(self, token: Tensor) -> Tensor:
        """Which tokens end their sequences, in the tokens' shape."""
        if self.tokens is None:
            return torch.zeros_like(token, dtype=torch.bool)
        return torch.isin(token, self.tokens)


Told = Callable[[Tensor, Tensor], None]
"""What takes each step's scores and logits, (R, V) both."""


def each_token(
    decoder: Decoder,
    ids: Tensor,
    process: Processor,
    ends: Ends,
    told: Told,
    do_sample: bool = False,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Greedy search, or sampling: the likeliest token or one drawn at each step, until every row has ended.

    A row that has ended is filled with padding while others go on.

    Args:
        decoder: gives the logits.
        ids: (R, T), the prompt.
        process: what changes the scores.
        ends: when to stop.
        told: is given each step's scores and logits.
        do_sample: whether to draw.
        generator: what to draw by, one call of `torch.multinomial` a step; PyTorch's own if None.

    Yields:
        (R,) the tokens of each step.
    """
    running = torch.ones_like(ids[:, 0], dtype=torch.bool)
    new = ids
    while ids.size(1) < ends.max_length and bool(running.any()):
        logits = decoder.step(new)
        scores = process(ids, logits)
        told(scores, logits)
        if do_sample:
            tokens = torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)
        else:
            tokens = scores.argmax(-1)
        if ends.tokens is not None:
            tokens = torch.where(running, tokens, ends.padding)
        running = running & ~ends.hit(tokens)
        new = tokens[:, None]
        ids = torch.cat([ids, new], 1)
        yield tokens
