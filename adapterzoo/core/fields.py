"""What a field of a config may be: its kind, told by a type, and rules beyond that. All problems are told at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a string", NoneType: "None"}


class Rule(NamedTuple):
    """A rule for values of the right kind.

    Attributes:
        text: what a value must be, as in "r must be above 0".
        holds: whether a value is.
        most: what a number that `holds` is true of may be at most; None: any.
    """

    text: str
    holds: Callable[[Any], bool]
    most: int | None = None


POSITIVE = Rule("above 0", lambda value: value is None or value > 0)
NATURAL = Rule("0 or more", lambda value: value is None or value >= 0)
SIZE = Rule(POSITIVE.text, POSITIVE.holds, 1 << 28)
"""The rule for what tensors are as large as: the product of two such, in bytes, can be counted."""

DEPTH = Rule(POSITIVE.text, POSITIVE.holds, 1000)
"""The rule for how many layers there are where no file has a tensor for each."""

CHANCE = Rule("from 0 to below 1", lambda value: value is None or 0 <= value < 1)


def one_of(*known: Any) -> Rule:
    """The rule that a value is one of those that there are."""
    return Rule(f"one of {', '.join(map(repr, known))}", lambda value: value in known)


def each(rule: Rule) -> Rule:
    """The rule that every element of a value keeps a rule."""
    return Rule(f"{rule.text}, each of them", lambda values: all(map(rule.holds, values)))


def wrong_fields(values: Mapping[str, Any], kinds: Mapping[str, Any], rules: Mapping[str, Rule]) -> Iterator[str]:
    """What is wrong with fields, in words.

    Args:
        values: the fields.
        kinds: the kind of each, as a type; fields that are not in here are not looked at.
        rules: rules for some, asked for values of the right kind.
    """
    for name, value in values.items():
        if name not in kinds:
            continue
        if not fits(value, kinds[name]):
            yield f"{name} must be {words(kinds[name])}, not {value!r}"
        elif name in rules and not rules[name].holds(value):
            yield f"{name} must be {rules[name].text}, not {value!r}"
        elif name in rules and too_large(value, rules[name]):
            yield f"{name} must be {rules[name].most:,} at most, not {value!r}"


def too_large(value: Any, rule: Rule) -> bool:
    """Whether a value, or an element of it, is above what a rule says it may be at most."""
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else (value,)
    return rule.most is not None and any(one is not None and one > rule.most for one in values)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind: int, float, bool, str, None, a union, a list or tuple of one kind, a Mapping.

    As in JSON, whole numbers are numbers, and True and False are none; a number is neither infinite nor NaN, and whole
    ones fit into 64 bits.
    """
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if outer in (list, tuple):
        return isinstance(value, outer) and _all_fit(value, inner[0])
    if outer is Mapping:
        return isinstance(value, Mapping) and _all_fit(value, inner[0]) and _all_fit(value.values(), inner[1])
    if kind in (int, float):
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return number and (abs(value) < 1 << 63 if isinstance(value, int) else math.isfinite(value))
    return isinstance(value, kind)


def _all_fit(values: Iterable[Any], kind: Any) -> bool:
    return all(fits(value, kind) for value in values)


def words(kind: Any) -> str:
    """A kind in words: "a number or None"."""
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        return " or ".join(map(words, inner))
    if outer in (list, tuple):
        return f"a list, each element {words(inner[0])}"
    if outer is Mapping:
        return f"a mapping from {words(inner[0])} to {words(inner[1])}"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
