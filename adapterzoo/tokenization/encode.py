"""Rows to encodings, encodings to what a call returns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

from adapterzoo.tokenization.batch import BatchEncoding, fields_of, tensors_of
from adapterzoo.tokenization.inputs import Limits, Row


def encode(
    backend: Any,
    lock: AbstractContextManager[Any],
    rows: Sequence[Row],
    bounds: Limits,
    *,
    split: bool,
    specials: bool,
    side: str,
) -> list[Any]:
    """Encode and truncate.

    Args:
        backend: the `tokenizers.Tokenizer`; truncation is set on it for as long as this runs.
        lock: held meanwhile, so that no other thread meets that.
        rows: texts or pairs of texts, as lists of words where `split`.
        bounds: how far to truncate.
        split: whether texts are lists of words.
        specials: whether special tokens are put around the texts.
        side: the side that truncation takes tokens from.

    Raises:
        ValueError: the texts cannot be truncated so.
    """
    truncate = bounds.truncation != "do_not_truncate"
    if truncate:
        _check_room(backend, rows, bounds, specials)
    with lock:
        try:
            if truncate:
                backend.enable_truncation(
                    bounds.max_length, stride=bounds.stride, strategy=bounds.truncation, direction=side
                )
            return list(backend.encode_batch(rows, is_pretokenized=split, add_special_tokens=specials))
        except BaseException as err:  # a panic in Rust is no Exception
            if not isinstance(err, Exception) and type(err).__name__ != "PanicException":
                raise
            raise ValueError(f"these texts cannot be encoded: {err}") from err
        finally:
            backend.no_truncation()


def result(encodings: list[Any], keys: Collection[str], batched: bool, tensors: bool) -> BatchEncoding:
    """What a call returns.

    Args:
        encodings: one for each text, with what overflowed from it inside.
        keys: the wanted ones; "overflow_to_sample_mapping" makes rows of what overflowed.
        batched: False for one text alone, whose lists then have no batch dimension.
        tensors: tensors (B, T) instead of lists; these always have a batch dimension.
    """
    windows = [[encoding, *encoding.overflowing] for encoding in encodings]
    overflow = "overflow_to_sample_mapping" in keys
    rows = [row for group in windows for row in group] if overflow else encodings
    data = fields_of(rows, keys)
    if "length" in keys:
        data["length"] = [len(row.ids) for row in rows]
    if overflow:
        data["overflow_to_sample_mapping"] = [i for i, group in enumerate(windows) for _ in group]
    if tensors:
        return BatchEncoding(tensors_of(data), rows)
    if not batched and not overflow:
        data = {key: value[0] if isinstance(value[0], list) else value for key, value in data.items()}
    return BatchEncoding(data, rows)


def _check_room(backend: Any, rows: Sequence[Row], bounds: Limits, specials: bool) -> None:
    pairs = any(isinstance(row, tuple) for row in rows)
    around = backend.num_special_tokens_to_add(pairs) if specials else 0
    room = (bounds.max_length or 0) - around
    if room < 0:
        raise ValueError(f"max_length {bounds.max_length} is too short: there are {around} special tokens alone")
    if bounds.stride and bounds.stride >= room:
        raise ValueError(f"stride {bounds.stride} must be less than the {room} tokens that are left for the text")
