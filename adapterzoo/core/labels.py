"""Names of labels by number, as config files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterzoo.core.fields import POSITIVE, Rule, fits

LABELS = Rule(POSITIVE.text, POSITIVE.holds, 1_000_000)
"""The rule for how many labels there are. Each has a name, or is given one."""


def label_names(id2label: Any) -> dict[int, str]:
    """Names by number, in order; the numbers may be strings, as JSON has them.

    Raises:
        ValueError: it is no such mapping, the numbers do not count up from 0, or two labels have one name.
    """
    try:
        names = {int(number): name for number, name in id2label.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"id2label must be a mapping from numbers to names, not {id2label!r}") from None
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"id2label must name the labels 0, 1, … without gaps, not {sorted(names)}")
    wrong = [name for name in names.values() if not isinstance(name, str)]
    if wrong:
        raise ValueError(f"labels' names must be strings, not {', '.join(map(repr, wrong))}")
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise ValueError(
            f"several labels are named {', '.join(map(repr, twice))}; give each a name of its own: id2label="
        )
    return dict(sorted(names.items()))


def by_number(label2id: Any) -> dict[int, str]:
    """Names by number from numbers by name.

    Raises:
        ValueError: it is no mapping from names to numbers, or two labels have one number.
    """
    if not fits(label2id, Mapping[str, int]):
        raise ValueError(f"label2id must be a mapping from names to numbers, not {label2id!r}")
    names = {number: name for name, number in label2id.items()}
    if len(names) < len(label2id):
        raise ValueError(f"label2id gives one number to several labels: {label2id!r}")
    return names
