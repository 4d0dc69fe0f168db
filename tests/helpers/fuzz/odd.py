"""Values that files should not hold, or seldom do."""

from __future__ import annotations

import copy
import math
from random import Random
from typing import Any

NAMES = (
    *("", " ", ".", "..", "../..", "../../etc/passwd", "/etc/passwd", "/dev/zero", "a/b", "a\\b", "a\0b", "a\nb"),
    *("x" * 300, "x" * 5000, "\ud800", "\u202eabc", "ä", "a\u0308", "🦆", "%2e%2e%2f", "-1", "0", "*", "**/*", "~"),
    *("__class__", "__dict__", "_modules", "forward", "training", "train", "state_dict", "weight", "bias", "units"),
    *("shared", "default", "None", "nan", "(a+)+$", "[", "(?P<a", "\\", "{p}", "{i}", "a,b", "base.0", "$HOME", "{}"),
)
"""Names and other texts."""

ASTRAY = ("..", "../..", "../../etc/passwd", "/etc/passwd", "/dev/zero", "a\0b", "~", "file:///etc/passwd")
"""Texts that as paths lead elsewhere, or nowhere."""

NUMBERS = (
    *(0, -1, 1, 2, 3, 7, 32, 0.0, 0.5, -0.5, 1e-300, 1e308, -1e308, 10**6, 10**9, 10**12, 2**31, 2**32, 2**63 - 1),
    *(2**63, 2**64, -(2**63), 10**30, 10**400, math.nan, math.inf, -math.inf, True, False),
)
"""Numbers, and what Python takes for such."""


def nested(depth: int, kind: type) -> Any:
    """Lists in lists, or mappings in mappings."""
    value: Any = kind()
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


OTHERS = (None, [], {}, [[]], {"": {}}, [None], [1, "a"], {"a": 1}, {"0": "a"}, nested(50, list), nested(400, dict))
OTHERS += (nested(900, list),)


def odd_value(chance: Random) -> Any:
    """Any of them."""
    return copy.deepcopy(chance.choice(chance.choice((NAMES, NUMBERS, OTHERS))))


def like(value: Any, chance: Random) -> Any:
    """An odd value of the same kind, most of the time; for numbers, one near by now and then."""
    if isinstance(value, bool) or value is None or isinstance(value, (dict, list)) or chance.random() < 0.2:
        return odd_value(chance)
    if isinstance(value, str):
        return chance.choice(NAMES)
    return chance.choice((value + 1, value - 1, value * 2, -value, float(value), chance.choice(NUMBERS)))
