"""Random compositions for property tests."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import assume
from hypothesis import strategies as st

from adapterzoo import Average, BatchSplit, Fuse, MultiTask, Parallel, Split, Stack
from adapterzoo.core.block import BLOCKS
from adapterzoo.core.compose import AdapterCompositionBlock, Child, copies, names_in


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


@st.composite
def nestings(
    draw: st.DrawFn, names: Sequence[str], rows: int, length: int, tasks: int = 2, depth: int = 4, tasked: bool = False
) -> Child:
    """A name or any nesting of all blocks that has a meaning, whatever the adapters are.

    Args:
        draw: hypothesis's.
        names: the adapters that it may name.
        rows: how many rows it sees.
        length: how many columns it sees.
        tasks: children of each MultiTask.
        depth: how many blocks may lie within each other.
        tasked: whether rows lie by their tasks, so that there is MultiTask and no BatchSplit.
    """
    kinds = ["name"] * 2 + (["stack", "mean", "columns", "tasks" if tasked else "rows"] if depth else [])
    kind = draw(st.sampled_from(kinds))

    def inner(rows: int = rows, length: int = length, tasked: bool = tasked) -> Child:
        return draw(nestings(names, rows, length, tasks, depth - 1, tasked))

    if kind == "name":
        return draw(st.sampled_from(names))
    if kind == "stack":
        return Stack(*(inner() for _ in range(draw(st.integers(0, 3)))))
    if kind == "mean":
        weights = draw(st.lists(st.floats(0.1, 2), min_size=1, max_size=3))
        return Average(*(inner() for _ in weights), weights=weights, normalize_weights=draw(st.booleans()))
    if kind == "columns":
        sizes = draw(sizes_for(length))
        return Split(*(inner(length=size) for size in sizes), splits=sizes)
    if kind == "rows":
        sizes = draw(sizes_for(rows))
        return BatchSplit(*(inner(rows=size) for size in sizes), batch_sizes=sizes)
    return MultiTask(*(draw(nestings(names, 0, length, tasks, 0)) for _ in range(tasks)))


def in_copies(nesting: st.SearchStrategy[Child]) -> st.SearchStrategy[AdapterCompositionBlock]:
    """Parallel blocks of such nestings, within each other and in stacks."""
    several = st.lists(nesting, min_size=1, max_size=3).map(lambda children: Parallel(*children))
    return (
        several
        | st.tuples(nesting, several).map(lambda pair: Stack(*pair))
        | st.tuples(several, nesting).map(lambda pair: Parallel(*pair))
    )


def of_row(node: Child, row: int, rows: int, task: int | None = None) -> Child:
    """What a composition is for one row: blocks that give rows to their children give it to one of these.

    Args:
        node: the composition.
        row: the row's number among those that the composition sees, copies of the batch included.
        rows: how many it sees.
        task: the row's task.
    """
    if isinstance(node, str):
        return node
    if isinstance(node, MultiTask):
        assert task is not None
        return of_row(node[task], row, rows)
    if isinstance(node, (BatchSplit, Parallel)):
        shares = [copies(child) for child in node.children]
        sizes = node.batch_sizes if isinstance(node, BatchSplit) else [n * rows // sum(shares) for n in shares]
        for child, size in zip(node.children, sizes, strict=True):
            if row < size:
                return of_row(child, row, size, task)
            row -= size
        raise AssertionError("no child has the row")
    return type(node)(*(of_row(child, row, rows, task) for child in node.children), **node.options())


@st.composite
def written(draw: st.DrawFn, names: Sequence[str], depth: int = 3) -> AdapterCompositionBlock:
    """Any block that can be written, whether it has a meaning or not.

    Args:
        draw: hypothesis's.
        names: the adapters that it may name.
        depth: how many blocks may lie within each other.
    """
    child = st.sampled_from(list(names)) | (written(names, depth - 1) if depth > 1 else st.nothing())
    children = draw(st.lists(child, min_size=1, max_size=3))
    sizes = draw(st.lists(st.integers(0, 9), min_size=len(children), max_size=len(children)) | st.integers(0, 9))
    weights = draw(st.none() | st.lists(st.floats(0.1, 3), min_size=len(children), max_size=len(children)))
    options = {
        Fuse: {"name": draw(st.none() | st.sampled_from(["mix", "a,b", "näme"]))},
        Split: {"splits": sizes},
        BatchSplit: {"batch_sizes": sizes},
        Average: {"weights": weights, "normalize_weights": draw(st.booleans())},
    }
    kind = draw(st.sampled_from([BLOCKS[name] for name in BLOCKS]))
    assume(all(isinstance(one, str) or list(names_in(one)) for one in children))
    return kind(*children, **options.get(kind, {}))
