"""Which tests of many cases times many architectures are quick: not all of each relative's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest

from tests.helpers.tiny import NAMES

FIRST = ("bart", "bert")
"""The architectures that are always run: one with an encoder alone, one with a decoder, too."""

MANY = 2 * len(NAMES)
"""Cases of one test from which on it is a product of cases and architectures."""

TURN = 3
"""Of a product, each relative has one case in so many, another than its neighbours have."""


def leave_for_slow(items: Iterable[pytest.Item]) -> None:
    """Mark as slow what of such products is left to `make test-slow`. The comparisons with peers stay whole."""
    functions = [item for item in items if isinstance(item, pytest.Function) and "/parity_" not in item.nodeid]
    counts = Counter(_function(item) for item in functions)
    cases: dict[tuple[str, str], list[pytest.Function]] = defaultdict(list)
    for item in functions:
        architecture = _architecture(item)
        if architecture is not None and architecture not in FIRST and counts[_function(item)] >= MANY:
            cases[_function(item), architecture].append(item)
    for (_, architecture), own in cases.items():
        quick = places(len(own), NAMES.index(architecture))
        for place, item in enumerate(own):
            if place not in quick:
                item.add_marker(pytest.mark.slow)


def places(cases: int, turn: int) -> set[int]:
    """Which of so many cases are quick for the architecture whose turn it is: one at least."""
    return set(range(-turn % TURN, cases, TURN)) or {turn % cases}


def _function(item: pytest.Function) -> str:
    return item.nodeid.partition("[")[0]


def _architecture(item: pytest.Function) -> str | None:
    """The architecture that a test is of, by its parameters; None where there is none."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return next((value for value in given if isinstance(value, str) and value in NAMES), None)
