"""What a caller gives a tokenizer: texts in their many shapes, and how far to pad and truncate them."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapterzoo.core.registry import listing, unknown

PADDINGS = ("longest", "max_length", "do_not_pad")
TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
UNLIMITED = int(1e30)  # what files say where a model has no longest input
_BOUNDED = int(1e20)

Row = str | list[str] | tuple[Any, Any]


@dataclass(frozen=True)
class Limits:
    """How far to pad and truncate: one of PADDINGS, one of TRUNCATIONS, and the length that they need."""

    padding: str
    truncation: str
    max_length: int | None
    stride: int = 0
    multiple: int | None = None


def limits(
    padding: bool | str,
    truncation: bool | str | None,
    max_length: int | None,
    stride: int,
    multiple: int | None,
    longest: int,
) -> Limits:
    """The limits that a call asks for.

    Args:
        padding: False, True or "longest", "max_length".
        truncation: False, True or "longest_first", "only_first", "only_second"; None is True if `max_length`
            is given and `padding` is False, and False otherwise.
        max_length: tokens in a row, the special ones included.
        stride: tokens that two windows of one text share.
        multiple: pad to a multiple of this many tokens.
        longest: the model's longest input, for where `max_length` is not given.

    Raises:
        ValueError: an unknown or contradictory value.
    """
    _check_counts(max_length=max_length, pad_to_multiple_of=multiple)
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 0:
        raise ValueError(f"stride must be an integer of at least 0, not {stride!r}")
    if truncation is None:
        truncation = max_length is not None and padding is False
    pad = _choice("padding", padding, PADDINGS, yes="longest", no="do_not_pad")
    cut = _choice("truncation", truncation, TRUNCATIONS, yes="longest_first", no="do_not_truncate")
    if max_length is None and longest < _BOUNDED:
        max_length = longest if pad == "max_length" or cut != "do_not_truncate" else None
    elif max_length is None:
        pad, cut = _without_limit(pad, cut)
    elif pad == "longest" and cut == "do_not_truncate":
        warnings.warn("max_length has no effect with padding=True and no truncation", stacklevel=3)
    if pad != "do_not_pad" and cut != "do_not_truncate" and max_length and max_length % (multiple or 1):
        raise ValueError(f"max_length {max_length} is no multiple of pad_to_multiple_of {multiple}")
    return Limits(pad, cut, max_length, stride, multiple)


def rows_of(text: Any, pair: Any, split: bool) -> tuple[list[Row], bool]:
    """The rows to encode, checked.

    Args:
        text: a text, a list of texts, or a list of pairs of texts; where `split`, a text is a list of words.
        pair: the second text of each row, in the same shape; or None.
        split: whether texts come as lists of words.

    Returns:
        A row for each text (a text, or a tuple of two), and whether it is a batch (False for one text alone).

    Raises:
        ValueError: something is not a text, or there are not as many second texts as first ones.
    """
    if not _is_batch(text, split):
        first = _text(text, "text", split)
        second = None if pair is None else _text(pair, "text_pair", split)
        # An empty second text is left out, as it is in transformers; in a batch it counts.
        return [(first, second) if second else first], False
    if pair is None:
        return [_row(value, f"entry {i}", split) for i, value in enumerate(text)], True
    if not _is_list(pair):
        raise _wrong("text is a batch, so text_pair must be a list of as many", pair, "it")
    if len(text) != len(pair):
        raise ValueError(f"text has {len(text)} entries, text_pair {len(pair)}")
    firsts = [_text(value, f"entry {i}", split) for i, value in enumerate(text)]
    seconds = [_text(value, f"entry {i} of text_pair", split) for i, value in enumerate(pair)]
    return list(zip(firsts, seconds, strict=True)), True


def side_of(value: str) -> str:
    """`value`, if it is a side of a text: "right" or "left"."""
    if value not in ("right", "left"):
        raise ValueError(unknown("side", value, ("right", "left")))
    return value


def wants_tensors(return_tensors: str | None) -> bool:
    """Whether tensors are asked for: "pt" for tensors, None for lists."""
    if return_tensors not in ("pt", None):
        raise ValueError(unknown("kind of tensor", return_tensors, ("pt", "None (lists)")))
    return return_tensors == "pt"


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")


def _choice(kind: str, value: bool | str | None, known: Sequence[str], *, yes: str, no: str) -> str:
    if isinstance(value, bool):
        return yes if value else no
    if value not in known:
        raise ValueError(unknown(f"{kind} strategy", value, ["True", "False", *known]))
    return str(value)


def _without_limit(pad: str, cut: str) -> tuple[str, str]:
    asked = [name for name, on in (("pad", pad == "max_length"), ("truncate", cut != "do_not_truncate")) if on]
    if asked:
        message = f"asked to {listing(asked)} to max_length, but neither the call nor the tokenizer says how long"
        warnings.warn(f"{message} that is; the texts stay as they are", stacklevel=4)
    return ("do_not_pad" if pad == "max_length" else pad), "do_not_truncate"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def _is_batch(text: Any, split: bool) -> bool:
    return _is_list(text) and (not split or (len(text) > 0 and _is_list(text[0])))


def _row(value: Any, where: str, split: bool) -> Row:
    if not split and isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise ValueError(
                f"{where} is a list of {len(value)}; a pair has 2 texts, words need is_split_into_words=True"
            )
        return _text(value[0], where, split), _text(value[1], where, split)
    return _text(value, where, split)


def _text(value: Any, where: str, split: bool) -> str | list[str]:
    if not split:
        return _string(value, "texts must be strings", where)
    if not _is_list(value):
        raise _wrong("with is_split_into_words=True texts must be lists of words", value, where)
    return [_string(word, "words must be strings", f"word {i} of {where}") for i, word in enumerate(value)]


def _string(value: Any, rule: str, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(rule, value, where)
    try:
        value.encode()
    except UnicodeEncodeError as err:  # what becomes of it differs between versions of `tokenizers`
        raise ValueError(f"{where} is not valid Unicode: {err}") from err
    return value


def _wrong(rule: str, value: Any, where: str) -> ValueError:
    kind = "None" if value is None else f"a {type(value).__name__} ({reprlib.repr(value)})"
    return ValueError(f"{rule}; {where} is {kind}")
