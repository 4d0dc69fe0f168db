"""What a tokenizer returns, and how rows of different lengths become one batch."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from adapterzoo.core.registry import listing, unknown
from adapterzoo.tokenization.inputs import Limits

Features = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_FILLS = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1, "labels": -100}

# Our keys and where the `tokenizers` package's Encoding has them, in the order in which they are returned.
FIELDS = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}


class BatchEncoding(dict[str, Any]):
    """Encoded texts: a dict whose keys are attributes, too; `batch[0]` is row 0's `tokenizers.Encoding`.

    Args:
        data: lists or tensors by key.
        encodings: the `tokenizers.Encoding` of each row; None for rows that come from elsewhere.
    """

    def __init__(self, data: Mapping[str, Any], encodings: list[Any] | None = None) -> None:
        super().__init__(data)
        self.encodings = encodings

    def __getitem__(self, key: str | int) -> Any:
        return self._encoding(key) if isinstance(key, int) else super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except KeyError:
            raise AttributeError(unknown("field", name, self)) from None

    def _encoding(self, row: int) -> Any:
        if self.encodings is None:
            raise ValueError("only the rows of a call to the tokenizer know their tokens and words; these do not")
        return self.encodings[row]

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return list(self._encoding(batch_index).tokens)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row, the number of the word that it is from; None for special tokens."""
        return list(self._encoding(batch_index).word_ids)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row, which text it is from, the first (0) or the second (1), or None."""
        return list(self._encoding(batch_index).sequence_ids)

    def char_to_token(self, batch_index: int, char_index: int, sequence_index: int = 0) -> int | None:
        """Where the token is that a character of a row's first (0) or second (1) text is in, or None."""
        position: int | None = self._encoding(batch_index).char_to_token(char_index, sequence_index)
        return position

    def to(self, device: str | int | torch.device, *, non_blocking: bool = False) -> BatchEncoding:
        """Move the tensors, in place.

        Returns:
            This object.
        """
        for key, value in self.items():
            if isinstance(value, torch.Tensor):
                super().__setitem__(key, value.to(device, non_blocking=non_blocking))
        return self


def pad_encodings(encodings: Sequence[Any], limits: Limits, side: str, pad_id: int, pad_token: str) -> None:
    """Pad encodings in place, and what overflowed from them, to the length that `limits` asks for."""
    longest = max((len(encoding.ids) for encoding in encodings), default=0)
    target = _rounded(limits.max_length or 0 if limits.padding == "max_length" else longest, limits.multiple)
    for encoding in encodings:
        encoding.pad(target, direction=side, pad_id=pad_id, pad_type_id=0, pad_token=pad_token)


def fields_of(encodings: Sequence[Any], keys: Iterable[str]) -> dict[str, list[Any]]:
    """The rows' values by key, in the usual order of the keys."""
    wanted = set(keys)
    return {key: [getattr(row, name) for row in encodings] for key, name in FIELDS.items() if key in wanted}


def tensors_of(data: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Lists of numbers as tensors; rows are (B, T).

    Raises:
        ValueError: rows of different lengths, or what is no number.
    """
    return {key: _tensor(key, value) for key, value in data.items()}


def collate(features: Features, limits: Limits, side: str, pad_id: int) -> dict[str, list[Any]]:
    """Pad rows that are encoded already.

    Args:
        features: a list of rows, one mapping of lists of rows, or one row; values are lists, tensors, numbers.
        limits: what to pad to.
        side: "right" or "left".
        pad_id: the pad token's id.

    Returns:
        The rows by key, padded to one length T. Lists of labels that are as long as their rows are padded
        like them, others to the longest one; what is not known to go along the tokens is left as it is.
        For one row, its values.

    Raises:
        ValueError: no `input_ids`, or not the same keys in all rows.
    """
    alone = isinstance(features, Mapping) and _is_one_row(features)
    columns = _columns([features] if alone else features)  # type: ignore[list-item]
    ids = columns["input_ids"]
    lengths = [len(row) for row in ids]
    columns.setdefault("attention_mask", [[1] * length for length in lengths])
    target = _target(lengths, limits)
    fills = {**_FILLS, "input_ids": pad_id}
    for key in fills.keys() & columns.keys():
        if not all(isinstance(row, list) for row in columns[key]):
            continue  # a number for each row: the label of a text
        own = [len(row) for row in columns[key]]
        length = target if own == lengths else _target(own, limits)
        columns[key] = [_filled(row, length, fills[key], side) for row in columns[key]]
    return {key: rows[0] for key, rows in columns.items()} if alone else columns


def _is_one_row(features: Mapping[str, Any]) -> bool:
    ids = _plain(features.get("input_ids"))
    return isinstance(ids, list) and len(ids) > 0 and isinstance(ids[0], int)


def _columns(features: Features) -> dict[str, list[Any]]:
    if not isinstance(features, Mapping):
        features = _transposed(features)
    columns = {key: _plain(values) for key, values in features.items()}
    if "input_ids" not in columns:
        raise ValueError(unknown("key", "input_ids", columns))
    if not all(isinstance(row, list) for row in columns["input_ids"]):
        raise ValueError(f"input_ids must be lists of token ids, not {reprlib.repr(columns['input_ids'])}")
    rows = len(columns["input_ids"])
    for key, values in columns.items():
        if not isinstance(values, list) or len(values) != rows:
            raise ValueError(f"{key!r} has not as many rows as input_ids, {rows}: {reprlib.repr(values)}")
    return columns


def _transposed(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    if not rows:
        raise ValueError("there are no rows to pad")
    keys = list(rows[0])
    for i, row in enumerate(rows):
        if odd := set(keys) ^ set(row):
            raise ValueError(f"only one of row 0 and row {i} has {listing(odd)}; all need the same keys")
    return {key: [row[key] for row in rows] for key in keys}


def _plain(value: Any) -> Any:
    """A column, and the rows in it, as lists where they are tensors, arrays or tuples."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if not isinstance(value, (list, tuple)):
        return value
    rows = [row.tolist() if hasattr(row, "tolist") else row for row in value]
    return [list(row) if isinstance(row, tuple) else row for row in rows]


def _target(lengths: Sequence[int], limits: Limits) -> int:
    if limits.padding == "do_not_pad":
        return 0
    fixed = limits.max_length if limits.padding == "max_length" else None
    return _rounded(fixed or max(lengths, default=0), limits.multiple)


def _rounded(length: int, multiple: int | None) -> int:
    return -(-length // multiple) * multiple if multiple else length


def _filled(row: list[Any], length: int, fill: int, side: str) -> list[Any]:
    extra = [fill] * (length - len(row))
    return row + extra if side == "right" else extra + row


def _tensor(key: str, value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    try:
        tensor = torch.tensor(value)
    except (ValueError, TypeError, RuntimeError) as err:
        lengths = sorted({len(row) for row in value if isinstance(row, (list, tuple))})
        why = str(err)
        if len(lengths) > 1:
            why = f"its rows have {lengths[0]} to {lengths[-1]} entries; set padding and truncation"
        raise ValueError(f"{key!r} makes no tensor: {why}") from err
    return tensor if tensor.numel() else tensor.long()
