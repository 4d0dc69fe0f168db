"""Words of rows of tokens: where each begins and ends, and the mean of its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.heads.loss import IGNORED
from adapterzoo.nn.layout import Layout


@dataclass(frozen=True)
class Words:
    """The words of each row, at most W.

    Attributes:
        begins, ends: (B, W), a word's first token and the one after its last.
        there: (B, W), whether the row has so many words.
    """

    begins: Tensor
    ends: Tensor
    there: Tensor

    @staticmethod
    def of(word_starts: Tensor, layout: Layout, pad_id: int) -> Words:
        """The words between starts.

        A start that follows the one before, within the row, begins a word (the last one: ends it). From the first that
        does not, everything must be padding.

        Args:
            word_starts: (B, W + 1), ascending, then padding: negative numbers or `pad_id`.
            layout: how the rows' tokens lie.
            pad_id: the model's padding token.

        Raises:
            ValueError: they have another shape or kind, are not ascending, or lie outside of their row.
        """
        shape = tuple(word_starts.shape)
        if word_starts.dim() != 2 or shape[0] != layout.rows or shape[1] < 2 or word_starts.is_floating_point():
            raise ValueError(
                f"word_starts must be whole numbers of shape ({layout.rows}, words + 1), one row for each of the "
                f"batch's, not {word_starts.dtype} of shape {shape}"
            )
        first, last = _edges(word_starts, layout)
        begins, ends = word_starts[:, :-1], word_starts[:, 1:]
        there = ((first <= begins) & (begins < ends) & (ends <= last)).long().cumprod(1).bool()
        if not torch.compiler.is_compiling():
            _check(word_starts, there, first, last, pad_id)
        count = min(begins.size(1), layout.length)
        return Words(begins[:, :count], ends[:, :count], there[:, :count])

    @property
    def counts(self) -> Tensor:
        """(B,): how many words each row has."""
        return self.there.sum(1)

    @property
    def pairs(self) -> Tensor:
        """(B, W, W + 1): whether there is such a word and such a head, the root first."""
        return self.there[:, :, None] & F.pad(self.there, (1, 0), value=True)[:, None, :]

    def means(self, hidden: Tensor) -> Tensor:
        """Means over each word's tokens, (B, T, D) to (B, W, D); zeros where there is no word."""
        place = torch.arange(hidden.size(1), device=hidden.device)
        inside = (place >= self.begins[..., None]) & (place < self.ends[..., None]) & self.there[..., None]
        counts = inside.sum(-1, keepdim=True).clamp(min=1)
        return (inside.to(hidden.dtype) @ hidden) / counts

    def labels(self, name: str, labels: Tensor) -> Tensor:
        """Labels of words, (B, any number) to (B, W), -100 where there is no word.

        Raises:
            ValueError: they have another shape or kind, or there are fewer than words.
        """
        rows, width = self.there.shape
        if labels.dim() != 2 or len(labels) != rows or labels.is_floating_point():
            raise ValueError(
                f"{name} must be whole numbers of shape ({rows}, words), not {labels.dtype} of shape "
                f"{tuple(labels.shape)}"
            )
        if not torch.compiler.is_compiling() and bool(self.there[:, labels.size(1) :].any()):
            raise ValueError(
                f"{name} has {labels.size(1)} labels a row, but word_starts has up to {int(self.counts.max())} words"
            )
        return F.pad(labels, (0, width - labels.size(1)), value=IGNORED).masked_fill(~self.there, IGNORED)


def _edges(like: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """(B, 1) each: every row's first token, and the place after its last one."""
    if layout.mask is None:
        return like.new_zeros(layout.rows, 1), like.new_full((layout.rows, 1), layout.length)
    tokens = layout.mask.int()
    return tokens.argmax(1, keepdim=True), layout.length - tokens.flip(1).argmax(1, keepdim=True)


def _check(starts: Tensor, there: Tensor, first: Tensor, last: Tensor, pad_id: int) -> None:
    """Check that what neither begins nor ends a word is padding; a lone start in a row is one of no word."""
    lone = (starts[:, :1] >= first) & (starts[:, :1] <= last)
    used = torch.cat([there[:, :1] | lone, there], 1)
    wrong = ~used & (starts >= 0) & (starts != pad_id)
    if not bool(wrong.any()):
        return
    row, place = wrong.nonzero()[0].tolist()
    raise ValueError(
        f"word_starts of row {row} are {starts[row].tolist()}, of which {int(starts[row, place])} neither follows the "
        f"one before nor is padding (negative, or {pad_id}): they are where words start, ascending, and where the last "
        f"one ends, from {int(first[row])} to {int(last[row])}"
    )
