"""What `make test` has of a test with many cases for each architecture."""

from __future__ import annotations

import pytest

from tests.helpers.quick import TURN, places


@pytest.mark.parametrize("cases", range(1, 10))
def test_each_architecture_has_a_case_and_neighbours_have_others(cases):
    turns = [places(cases, turn) for turn in range(TURN)]
    assert all(turns) and set.union(*turns) == set(range(cases))
    assert all(len(found) <= -(-cases // TURN) for found in turns)
