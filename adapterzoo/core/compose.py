"""Compositions: which adapters act, in which order, on which rows and tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from adapterzoo.core.block import BLOCKS, AdapterCompositionBlock, Child, Setup, names_in

__all__ = [
    "AdapterCompositionBlock",
    "Average",
    "BatchSplit",
    "Child",
    "Fuse",
    "MultiTask",
    "Parallel",
    "RowGroups",
    "Setup",
    "Split",
    "Stack",
    "blocks_in",
    "check_composition",
    "copies",
    "fusions_in",
    "names_in",
    "outside_tasks",
    "parse_composition",
    "tasks_of",
]


@BLOCKS.register("Stack")
class Stack(AdapterCompositionBlock):
    """One after the other: Stack(a, b) gives a's output to b. `Stack()` is the bare network."""

    __slots__ = ()


@BLOCKS.register("BatchSplit")
class BatchSplit(AdapterCompositionBlock):
    """Each child for its own rows of the batch, in order.

    Args:
        children: names or blocks.
        batch_sizes: rows of each child, or one number for all. They must add up to the batch.

    Raises:
        TypeError: the sizes are no number and no list.
        ValueError: not as many sizes as children, or a negative one.
    """

    __slots__ = ("batch_sizes",)
    batch_sizes: tuple[int, ...]

    def __init__(self, *children: Child, batch_sizes: int | Sequence[int]) -> None:
        super().__init__(*children)
        object.__setattr__(self, "batch_sizes", _sizes(self, "batch_sizes", batch_sizes))

    def options(self) -> dict[str, Any]:
        """The sizes."""
        return {"batch_sizes": self.batch_sizes}


@BLOCKS.register("Parallel")
class Parallel(AdapterCompositionBlock):
    """Each child for the whole batch: N children give N·B rows, child by child, as if the batch were repeated."""

    __slots__ = ()


@BLOCKS.register("Split")
class Split(AdapterCompositionBlock):
    """Each child for its own run of each row's positions, in order.

    Args:
        children: names or blocks.
        splits: positions of each child, or one number for all. They must add up to the length of the batch's rows,
            padding included.

    Raises:
        TypeError: the sizes are no number and no list.
        ValueError: not as many sizes as children, or a negative one.
    """

    __slots__ = ("splits",)
    splits: tuple[int, ...]

    def __init__(self, *children: Child, splits: int | Sequence[int]) -> None:
        super().__init__(*children)
        object.__setattr__(self, "splits", _sizes(self, "splits", splits))

    def options(self) -> dict[str, Any]:
        """The sizes."""
        return {"splits": self.splits}


@BLOCKS.register("Fuse")
class Fuse(AdapterCompositionBlock):
    """AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247): a learned attention weighs the children's outputs.

    The attention is what `add_adapter_fusion` made.

    Args:
        children: names or blocks.
        name: the fusion's name; if None, the children's (of a block the last adapter's), joined by commas.
    """

    __slots__ = ("name",)
    name: str

    def __init__(self, *children: Child, name: str | None = None) -> None:
        super().__init__(*children)
        object.__setattr__(self, "name", self._usual_name() if name is None else name)

    def _usual_name(self) -> str:
        last = (list(names_in(child))[-1:] for child in self.children)
        return ",".join(name for names in last for name in names)

    def options(self) -> dict[str, Any]:
        """The name, where it is not the usual one."""
        return {} if self.name == self._usual_name() else {"name": self.name}


@BLOCKS.register("Average")
class Average(AdapterCompositionBlock):
    """The weighted mean of the children's outputs, Σ wᵢ·oᵢ, at every place over those that act there.

    The weights of a child that does not act at a place are taken over by the others, so that their sum stays. Of
    prefixes and prompts it is the mean of what is put before the rows, which must be as long in each child. Where a
    child's output is the block's as it stands (AdapterPlus), the others' count with the residual and the LayerNorm.

    Args:
        children: names or blocks.
        weights: a weight for each; equal ones if None.
        normalize_weights: whether to divide the weights by their sum.

    Raises:
        TypeError: the weights are no list.
        ValueError: not as many weights as children, one is no finite number, or their sum is 0: no dividing by that.
    """

    __slots__ = ("weights",)
    weights: tuple[float, ...]

    def __init__(
        self, *children: Child, weights: Sequence[float] | None = None, normalize_weights: bool = True
    ) -> None:
        super().__init__(*children)
        given = (1.0,) * len(children) if weights is None else _numbers(weights)
        if len(given) != len(children):
            raise ValueError(f"Average has {len(children)} children but {len(given)} weights: {list(given)}")
        total = sum(given)
        if (normalize_weights or weights is None) and given:
            if total == 0:
                raise ValueError(f"the weights {list(given)} add up to 0: they cannot be normalised")
            given = given if total == 1.0 else tuple(weight / total for weight in given)
        object.__setattr__(self, "weights", given)

    def options(self) -> dict[str, Any]:
        """The weights, normalised already if that was asked for."""
        return {"weights": self.weights, "normalize_weights": False}


@BLOCKS.register("MultiTask")
class MultiTask(AdapterCompositionBlock):
    """Each child for the rows of its task, in any order: `model(…, task_ids=[…])` says each row's task.

    A task is its child's number or name; a block's name is that of its last adapter. A task may have no row in a batch.
    """

    __slots__ = ()


class RowGroups(AdapterCompositionBlock):
    """As BatchSplit, with sizes that each batch brings: what `adapter_names=[…]` becomes. Not for users to write."""

    __slots__ = ()


def copies(setup: Child) -> int:
    """How many times a setup answers each row of the batch: once, but for Parallel.

    Raises:
        ValueError: parts of it do not agree, or a part for some rows answers these more often than others are.
    """
    if isinstance(setup, str):
        return 1
    inside = [copies(child) for child in setup.children]
    if isinstance(setup, Parallel):
        if not inside:
            raise ValueError("Parallel needs at least one child")
        return sum(inside)
    several = {count for count in inside if count > 1}
    if isinstance(setup, Stack):
        if len(several) > 1:
            raise ValueError(f"{setup!r} stacks Parallel blocks of {' and '.join(map(str, sorted(several)))} children")
        return max(inside, default=1)
    if several:
        raise ValueError(
            f"{setup!r} holds a Parallel block, which would answer some rows more often than others; "
            "put it outside: Parallel(BatchSplit(…), …)"
        )
    return 1


def tasks_of(setup: Child) -> tuple[frozenset[str], ...]:
    """What each task of a setup's MultiTask blocks is called: the last adapter of its child; () without such blocks.

    A name that stands for several tasks stands for none.
    """
    blocks = [block for block in blocks_in(setup) if isinstance(block, MultiTask)]
    if not blocks:
        return ()
    names = [{_name_of(block.children[task]) for block in blocks} for task in range(min(map(len, blocks)))]
    count = Counter(name for one in names for name in one)
    return tuple(frozenset(name for name in one if name is not None and count[name] == 1) for one in names)


def _name_of(child: Child) -> str | None:
    """A child's last name, if it has any."""
    return next(reversed(list(names_in(child))), None)


def check_composition(setup: Child) -> None:
    """Check that a setup has a meaning, whatever adapters it names.

    Raises:
        ValueError: it has none; the message says why.
    """
    copies(setup)
    _check_tasks(setup)
    for block in blocks_in(setup):
        if isinstance(block, (Average, Fuse, Split, MultiTask)) and not block.children:
            raise ValueError(f"{type(block).__name__} needs at least one child")


def _check_tasks(setup: Child) -> None:
    """Check that rows may be sorted by their tasks.

    Raises:
        ValueError: they may not.
    """
    outer = [block for block in outside_tasks(setup) if isinstance(block, MultiTask)]
    inner = [block for multi in outer for child in multi for block in blocks_in(child) if isinstance(block, MultiTask)]
    if inner:
        raise ValueError(f"{inner[0]!r} is for all tasks, so it cannot lie in {outer[0]!r}, which has a child for each")
    if len({len(block) for block in outer}) > 1:
        counts = " and ".join(map(str, sorted({len(block) for block in outer})))
        raise ValueError(f"{setup!r} has MultiTask blocks of {counts} children, but a row has one task")
    split = next((block for block in outside_tasks(setup) if isinstance(block, BatchSplit)), None)
    if outer and split is not None:
        raise ValueError(
            f"{split!r} takes rows by their order in the batch, {outer[0]!r} by their tasks; "
            "a BatchSplit may lie in a task's child, for its rows: MultiTask(BatchSplit(…), …)"
        )


def outside_tasks(setup: Child) -> Iterator[AdapterCompositionBlock]:
    """The blocks in a setup, but for those in MultiTask's children."""
    if isinstance(setup, AdapterCompositionBlock):
        yield setup
        for child in () if isinstance(setup, MultiTask) else setup.children:
            yield from outside_tasks(child)


def blocks_in(setup: Child) -> Iterator[AdapterCompositionBlock]:
    """All blocks in a setup, the outer ones first."""
    if isinstance(setup, AdapterCompositionBlock):
        yield setup
        for child in setup.children:
            yield from blocks_in(child)


def fusions_in(setup: Child) -> list[str]:
    """The names of the fusions that a setup asks for."""
    return [block.name for block in blocks_in(setup) if isinstance(block, Fuse)]


def _sizes(block: AdapterCompositionBlock, what: str, given: int | Sequence[int]) -> tuple[int, ...]:
    """A size for each child."""
    kind, count = type(block).__name__, len(block.children)
    if not isinstance(given, (int, Sequence)) or isinstance(given, str):
        raise TypeError(f"{what} is a whole number or a list of them, not {given!r}")
    sizes = (given,) * count if isinstance(given, int) else tuple(given)
    if len(sizes) != count:
        raise ValueError(f"{kind} has {count} children but {len(sizes)} {what}: {list(sizes)}")
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError(f"{what} must be whole numbers, 0 or more, not {list(sizes)}")
    return sizes


def _numbers(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights as plain numbers."""
    if isinstance(weights, str) or not isinstance(weights, Sequence):
        raise TypeError(f"weights are a list of numbers, not {weights!r}")
    if any(isinstance(one, bool) or not isinstance(one, (int, float)) or not math.isfinite(one) for one in weights):
        raise ValueError(f"weights must be finite numbers, not {list(weights)}")
    return tuple(map(float, weights))


def parse_composition(setup: Setup) -> AdapterCompositionBlock | None:
    """What users write as a setup, as a block: a name becomes Stack(name), a list Stack(*list), nothing None.

    Raises:
        TypeError: it is none of these.
    """
    if setup is None or isinstance(setup, AdapterCompositionBlock):
        return setup
    if isinstance(setup, str):
        return Stack(setup) if setup else None
    if isinstance(setup, Sequence):
        return Stack(*setup) if setup else None
    raise TypeError(f"a setup is an adapter's name, a block such as Stack(…), or None, not {setup!r}")
