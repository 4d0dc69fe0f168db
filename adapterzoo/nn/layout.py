"""Where each token of a batch lies: on a grid with padding, or packed without.

Shapes: B rows, T length of the longest row, N tokens that are not padding. A tensor "by token" is (N, …) in a packed
layout and (B, T, …) in a padded one; "on the grid" is always (B, T, …); "by row" is (B, …).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.run import Cut, Spans
from adapterzoo.nn.by_rows import LEAST


class Layout:
    """How the rows of a batch lie in its tensors.

    Args:
        rows: B.
        length: T.
        mask: (B, T), True at tokens, or None where there is no padding.
        packed: whether tensors by token leave padding out.
        groups: sizes of the runs of rows that have an adapter each (`adapter_names`).

    Attributes:
        choices: how many consecutive rows are the choices of one question. Whoever cuts counts questions.
        copies: how many times the batch lies here, one after the other. `groups` are those of one copy.
        kept: what others worked out from this layout, by keys of theirs.
    """

    def __init__(self, rows: int, length: int, mask: Tensor | None, packed: bool, groups: tuple[int, ...] = ()) -> None:
        self.rows, self.length, self.mask, self.groups = rows, length, mask, groups
        self.index = mask.flatten().nonzero().squeeze(1) if packed and mask is not None else None
        self.choices = self.copies = 1
        self._long_rows: list[int] | None = None
        self._cuts: dict[tuple[int, ...] | None, list[Cut]] = {}
        self._spans: dict[tuple[int, ...], Spans] = {}
        self.kept: dict[Any, Any] = {}

    @staticmethod
    def of(rows: int, length: int, mask: Tensor | None, pack: bool, groups: tuple[int, ...] = ()) -> Layout:
        """The layout for a batch with that mask: packed where that is possible and saves anything.

        A row whose first token is masked (padding on the left, or an empty row) keeps the grid: heads read that token.
        In one graph for every mask, which cannot look into it, it stays where nothing is packed.
        """
        if mask is not None and not pack and torch.compiler.is_compiling():
            return Layout(rows, length, mask, False, groups)
        if mask is None or bool(mask.all()):
            return Layout(rows, length, None, False, groups)
        return Layout(rows, length, mask, pack and bool(mask[:, 0].all()), groups)

    @property
    def packed(self) -> bool:
        """Whether tensors by token leave padding out."""
        return self.index is not None

    @property
    def long_rows(self) -> list[int] | None:
        """Each row's tokens, where rows are packed and long enough to be seen to one by one; on CPUs alone.

        Their numbers are read from a tensor, which compiled code cannot do, and which would wait for a GPU.
        """
        if self.index is None or self.mask is None or not self.index.is_cpu or torch.compiler.is_compiling():
            return None
        if self._long_rows is None:
            long = self.index.numel() >= LEAST * self.rows
            self._long_rows = self.mask.sum(1).tolist() if long else []
        return self._long_rows or None

    def tokens(self, grid: Tensor) -> Tensor:
        """(B, T, …) to by token."""
        return grid if self.index is None else grid.flatten(0, 1).index_select(0, self.index)

    def grid(self, tokens: Tensor) -> Tensor:
        """By token to (B, T, …), zeros at padding."""
        if self.index is None:
            return tokens
        grid = tokens.new_zeros(self.rows * self.length, *tokens.shape[1:])
        return grid.index_copy_(0, self.index, tokens).view(self.rows, self.length, *tokens.shape[1:])

    def first(self, tokens: Tensor) -> Tensor:
        """Each row's first token: (B, …)."""
        return tokens[:, 0] if self.index is None else tokens.index_select(0, self._starts())

    def at(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Each row's token at `position` (B,), a position that is not padding: (B, …)."""
        if self.index is None:
            return tokens[torch.arange(self.rows, device=tokens.device), position]
        assert self.mask is not None
        before = self.mask.cumsum(1).gather(1, position[:, None]).squeeze(1) - 1
        return tokens.index_select(0, self._starts() + before)

    def _starts(self) -> Tensor:
        assert self.mask is not None
        lengths = self.mask.sum(1)
        return lengths.cumsum(0) - lengths

    def mean(self, tokens: Tensor) -> Tensor:
        """Mean over each row's tokens, padding left out: (B, d)."""
        grid = self.grid(tokens)
        if self.mask is None:
            return grid.mean(1)
        weight = self.mask.to(grid.dtype)[..., None]
        return (grid * weight).sum(1) / weight.sum(1).clamp(min=1)

    def spread(self, rows: Tensor) -> Tensor:
        """Each row's value at each of its tokens: (B, d) to (N, d) or (B, 1, d)."""
        if self.index is None:
            return rows[:, None]
        return rows.index_select(0, torch.div(self.index, self.length, rounding_mode="floor"))

    def place(self, device: torch.device) -> Tensor:
        """Each token's number in its row, padding not counted: (N, 1), or (B or 1, T, 1); -1 at padding on the left."""
        return self._place(device, False)

    def place_from_end(self, device: torch.device) -> Tensor:
        """The same, counted from the row's last token; -1 at padding on the right."""
        return self._place(device, True)

    def _place(self, device: torch.device, from_end: bool) -> Tensor:
        if self.mask is None:
            steps = torch.arange(self.length, device=device)
            return (steps.flip(0) if from_end else steps)[None, :, None]
        count = self.mask.int()
        before = count.flip(1).cumsum(1).flip(1) if from_end else count.cumsum(1)
        return self.tokens(before - 1)[..., None]

    def cuts(self, sizes: tuple[int, ...] | None = None) -> list[Cut]:
        """The batch cut into runs of `sizes` rows (questions, where there are choices); into its groups if None.

        Made once: the first call reads the rows' lengths, which compiled code cannot do.

        Raises:
            ValueError: the sizes do not add up to the batch.
        """
        if sizes not in self._cuts:
            self._cuts[sizes] = self._cut(self.groups * self.copies if sizes is None else sizes)
        return self._cuts[sizes]

    def spans(self, sizes: tuple[int, ...]) -> Spans:
        """The batch cut into runs of `sizes` columns of the grid. Made once, as cuts are.

        Raises:
            ValueError: the sizes do not add up to the rows' length.
        """
        if sizes not in self._spans:
            if sum(sizes) != self.length:
                raise ValueError(f"splits {list(sizes)} add up to {sum(sizes)}, but the rows have {self.length} tokens")
            self._spans[sizes] = self._span(sizes)
        return self._spans[sizes]

    def _span(self, sizes: tuple[int, ...]) -> Spans:
        cuts, chosen, start = [], [], 0
        for size in sizes:
            columns = slice(start, start + size)
            part = self._like(self.rows, size, None if self.mask is None else self.mask[:, columns])
            tokens: Any = (slice(None), columns)
            if self.index is not None:
                column = self.index % self.length
                tokens = ((column >= columns.start) & (column < columns.stop)).nonzero().squeeze(1)
                rows = torch.div(self.index[tokens], self.length, rounding_mode="floor")
                part.index = rows * size + column[tokens] - start
                chosen.append(tokens)
            cuts.append(Cut(slice(0, self.rows), tokens, part, columns))
            start += size
        return Spans(cuts, torch.cat(chosen).argsort() if chosen else None)

    def longer(self, length: int, mask: Tensor | None) -> Layout:
        """The layout of the same rows with more positions, on the grid.

        Args:
            length: how many positions.
            mask: (B, T'), False at padding; None where there is none.
        """
        return self._like(self.rows, length, mask)

    def tiled(self, times: int) -> Layout:
        """The layout of so many copies of the batch, one after the other."""
        if times == 1:
            return self
        mask = None if self.mask is None else self.mask.repeat(times, 1)
        layout = self._like(self.rows * times, self.length, mask)
        layout.copies = self.copies * times
        if self.index is not None:
            first = torch.arange(times, device=self.index.device)[:, None] * (self.rows * self.length)
            layout.index = (first + self.index).flatten()
        return layout

    def beside(self, length: int) -> Layout:
        """The layout of `length` vectors that every row has: once for all rows, or for each where rows are cut."""
        return self._like(self.rows if self._cuts else 1, length, None)

    def _like(self, rows: int, length: int, mask: Tensor | None) -> Layout:
        """A layout on the grid with the same choices, copies and groups."""
        layout = Layout(rows, length, mask, False, self.groups)
        layout.choices, layout.copies = self.choices, self.copies
        return layout

    def _cut(self, sizes: tuple[int, ...]) -> list[Cut]:
        whole = self.rows // self.choices
        if sum(sizes) != whole:
            raise ValueError(f"batch sizes {list(sizes)} add up to {sum(sizes)}, but the batch has {whole} rows")
        lengths = [0] * self.rows if self.index is None or self.mask is None else self.mask.sum(1).tolist()
        cuts, row, token = [], 0, 0
        for size in (size * self.choices for size in sizes):
            rows = slice(row, row + size)
            count = sum(lengths[rows])
            tokens = rows if self.index is None else slice(token, token + count)
            cuts.append(Cut(rows, tokens, self._part(rows, tokens)))
            row, token = row + size, token + count
        return cuts

    def _part(self, rows: slice, tokens: slice) -> Layout:
        """The layout of some rows."""
        mask = None if self.mask is None else self.mask[rows]
        part = self._like(rows.stop - rows.start, self.length, mask)
        part.copies = self.copies * part.rows // max(1, self.rows)
        if self.index is not None:
            part.index = self.index[tokens] - rows.start * self.length
        return part
