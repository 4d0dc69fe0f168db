"""Random compositions for property tests."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from adapterzoo import BatchSplit, Stack
from adapterzoo.core.compose import AdapterCompositionBlock


def sizes_for(rows: int) -> st.SearchStrategy[list[int]]:
    """Ways to cut a batch of `rows` into one to four runs, empty ones included."""
    cuts = st.lists(st.integers(0, rows), max_size=3).map(sorted)
    return cuts.map(lambda at: [b - a for a, b in zip([0, *at], [*at, rows], strict=True)])


@st.composite
def setups(draw: st.DrawFn, names: Sequence[str], rows: int, depth: int = 3) -> str | AdapterCompositionBlock:
    """A name or block that runs on a batch of `rows`: stacks and splits within each other.

    Args:
        draw: hypothesis's.
        names: the adapters that it may name.
        rows: how many rows there are.
        depth: how many blocks may lie within each other.
    """
    kind = draw(st.sampled_from(["name", "stack", "split"])) if depth else "name"
    if kind == "name":
        return draw(st.sampled_from(names))
    if kind == "stack":
        count = draw(st.integers(0, 3))
        return Stack(*(draw(setups(names, rows, depth - 1)) for _ in range(count)))
    sizes = draw(sizes_for(rows))
    return BatchSplit(*(draw(setups(names, size, depth - 1)) for size in sizes), batch_sizes=sizes)
