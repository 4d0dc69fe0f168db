"""Many texts as token ids: sorted by length, cut into batches of so many tokens.

Shapes: B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from adapterzoo.core.config import NetworkConfig
from adapterzoo.tokenization.inputs import UNLIMITED, rows_of
from adapterzoo.tokenizer import BatchEncoding, Tokenizer

T = TypeVar("T")

CHUNK = 1024
"""Texts that are tokenised at once: what a tokenizer makes of a text takes many times the memory of its ids."""


@dataclass(frozen=True)
class Batch:
    """Rows of about one length.

    Attributes:
        rows: their numbers among the texts.
        lengths: their tokens.
        inputs: what a model is called with: `input_ids` and `attention_mask`, (B, T) each, and for pairs of texts
            `token_type_ids`.
    """

    rows: list[int]
    lengths: list[int]
    inputs: dict[str, Tensor]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(self.rows, self.lengths, {key: value.to(device) for key, value in self.inputs.items()})

    def of(self, values: Sequence[T]) -> list[T]:
        """What there is for each text, for this batch's."""
        return [values[row] for row in self.rows]


class Texts:
    """Texts, tokenised and cut off where they are longer than a model takes. At most their ids are held.

    Args:
        tokenizer: makes ids of text.
        texts: texts, or pairs of texts; with `split` lists of words.
        longest: tokens in the longest row; None where there is no limit.
        split: whether texts are lists of words.
        cut: which text of a pair is cut off, as the tokenizer's `truncation` says.

    Attributes:
        rows: the texts, checked.

    Raises:
        ValueError: something is no text; the message says which.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        texts: Iterable[Any],
        longest: int | None,
        split: bool = False,
        cut: str | bool = True,
    ) -> None:
        self.rows, _ = rows_of(list(texts), None, split)
        self.tokenizer = tokenizer
        self.options: dict[str, Any] = {"is_split_into_words": split}
        self.options |= {} if longest is None else {"truncation": cut, "max_length": longest}
        segments = "token_type_ids" in tokenizer.model_input_names
        pairs = segments and any(isinstance(row, tuple) for row in self.rows)
        self._keys = ("input_ids", "token_type_ids") if pairs else ("input_ids",)
        chunks = [self._tokenised(start) for start in range(0, len(self.rows), CHUNK)]
        self.lengths: list[int] = [length for lengths, _ in chunks for length in lengths]
        self._values = {
            key: torch.cat([values[key] for _, values in chunks] or [torch.empty(0, dtype=torch.int32)])
            for key in self._keys
        }
        ends = torch.tensor(self.lengths, dtype=torch.long).cumsum(0)
        self._starts: list[int] = (ends - torch.tensor(self.lengths, dtype=torch.long)).tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def _tokenised(self, start: int) -> tuple[list[int], dict[str, Tensor]]:
        """The lengths of so many texts, and their ids one after the other."""
        part = self.rows[start : start + CHUNK]
        pairs = "token_type_ids" in self._keys
        encoded = self.tokenizer(part, **self.options, return_attention_mask=False, return_token_type_ids=pairs)
        lengths = [len(row) for row in encoded["input_ids"]]
        if 0 in lengths:
            raise ValueError(f"text {start + lengths.index(0)} has no tokens at all: {part[lengths.index(0)]!r}")
        values = {key: [value for row in encoded[key] for value in row] for key in self._keys}
        return lengths, {key: torch.tensor(value, dtype=torch.int32) for key, value in values.items()}

    def batches(self, max_tokens: int) -> Iterator[Batch]:
        """The batches, the longest texts first, each of at most so many tokens; a longer text is a batch of its own."""
        order = sorted(range(len(self)), key=self.lengths.__getitem__, reverse=True)
        start, tokens = 0, 0
        for end, row in enumerate(order):
            if end > start and tokens + self.lengths[row] > max_tokens:
                yield self._batch(order[start:end])
                start, tokens = end, 0
            tokens += self.lengths[row]
        if order:
            yield self._batch(order[start:])

    def _batch(self, rows: list[int]) -> Batch:
        lengths = [self.lengths[row] for row in rows]
        mask = torch.arange(lengths[0]) < torch.tensor(lengths)[:, None]
        padding = self.tokenizer.pad_id() if lengths[-1] < lengths[0] else 0
        inputs = {}
        for key in self._keys:
            values = self._values[key]
            packed = torch.cat([values[self._starts[row] : self._starts[row] + self.lengths[row]] for row in rows])
            fill = padding if key == "input_ids" else 0
            grid = torch.full(mask.shape, fill, dtype=torch.long)
            inputs[key] = grid.masked_scatter_(mask, packed.long())
        return Batch(rows, lengths, {**inputs, "attention_mask": mask.long()})

    def encoded(self, batch: Batch) -> BatchEncoding:
        """A batch's texts tokenised anew, with their words and characters."""
        return self.tokenizer(batch.of(self.rows), **self.options)


def longest_of(tokenizer: Tokenizer, network: NetworkConfig, asked: int | None) -> int | None:
    """How long a row may be: as long as was asked for, or else as tokenizer and network allow; None: without limit.

    Args:
        tokenizer: the tokenizer.
        network: the network's numbers.
        asked: the length that was asked for, if any.

    Raises:
        ValueError: the network has not so many positions.
    """
    rooms = [stack.room for stack in network.stacks().values() if stack.room is not None]
    if asked is not None:
        if rooms and asked > min(rooms):
            raise ValueError(f"max_length is {asked}, but the model has positions for {min(rooms)} tokens")
        return asked
    longest = min([tokenizer.model_max_length, *rooms])
    return None if longest >= UNLIMITED else longest
