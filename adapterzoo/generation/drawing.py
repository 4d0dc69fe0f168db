"""From which tokens to draw: what sampling's options do to scores. All keep at least `keep` tokens.

They are called as the processors are, with ids (R, T) and scores (R, V), and come after them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from adapterzoo.generation.processors import NEVER


@dataclass(frozen=True, eq=False)
class Temperature:
    """s ← s / t."""

    temperature: float

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        return scores / self.temperature


@dataclass(frozen=True, eq=False)
class TopK:
    """The k likeliest tokens (Fan et al. 2018, arXiv:1805.04833), and those as likely as the last of them."""

    k: int
    keep: int = 1

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        k = min(max(self.k, self.keep), scores.size(-1))
        return scores.masked_fill(scores < scores.topk(k)[0][..., -1:], NEVER)


def without(scores: Tensor, order: Tensor, dropped: Tensor) -> Tensor:
    """Scores without the tokens that are dropped; `dropped` is in the order (R, V) of `order`."""
    return scores.masked_fill(dropped.scatter(1, order, dropped), NEVER)


@dataclass(frozen=True, eq=False)
class TopP:
    """The likeliest tokens that together have probability p (Holtzman et al. 2019, arXiv:1904.09751)."""

    p: float
    keep: int = 1

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        ordered, order = scores.sort()
        dropped = ordered.softmax(-1).cumsum(-1) <= 1 - self.p
        dropped[..., -self.keep :] = False
        return without(scores, order, dropped)


@dataclass(frozen=True, eq=False)
class MinP:
    """The tokens that are at least p times as likely as the likeliest (arXiv:2407.01082)."""

    p: float
    keep: int = 1

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        chances = scores.softmax(-1)
        order = scores.argsort(descending=True)
        dropped = (chances < self.p * chances.amax(-1, keepdim=True)).gather(1, order)
        dropped[..., : self.keep] = False
        return without(scores, order, dropped)


@dataclass(frozen=True, eq=False)
class Typical:
    """The tokens whose surprise is nearest to the expected one and that together have probability p (2202.00666)."""

    p: float
    keep: int = 1

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores after it."""
        logs = scores.log_softmax(-1)
        expected = -(logs * logs.exp()).nansum(-1, keepdim=True)
        distance, order = (-logs - expected).abs().sort()
        sums = scores.gather(-1, order).softmax(-1).cumsum(-1)
        last = (sums < self.p).sum(1, keepdim=True).clamp(max=sums.size(-1) - 1)
        dropped = distance > distance.gather(1, last)
        dropped[..., : self.keep] = False
        return without(scores, order, dropped)
