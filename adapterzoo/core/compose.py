"""Compositions: which adapters act, in which order, on which rows and tokens."""

from __future__ import annotations

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
    "check_composition",
    "copies",
    "names_in",
    "parse_composition",
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
        return ",".join(child if isinstance(child, str) else child.last() for child in self.children)

    def options(self) -> dict[str, Any]:
        """The name, where it is not the usual one."""
        return {} if self.name == self._usual_name() else {"name": self.name}


@BLOCKS.register("Average")
class Average(AdapterCompositionBlock):
    """The weighted mean of the children's outputs, Σ wᵢ·oᵢ, at every place over those that act there.

    Args:
        children: names or blocks.
        weights: a weight for each; equal ones if None.
        normalize_weights: whether to divide the weights by their sum.

    Raises:
        ValueError: not as many weights as children, or their sum is 0 and cannot be divided by.
    """

    __slots__ = ("weights",)
    weights: tuple[float, ...]

    def __init__(
        self, *children: Child, weights: Sequence[float] | None = None, normalize_weights: bool = True
    ) -> None:
        super().__init__(*children)
        given = (1.0,) * len(children) if weights is None else tuple(float(weight) for weight in weights)
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
    """Each child for the rows of its task, in any order: `model(…, task_ids=[…])` says each row's task."""

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


def check_composition(setup: Child) -> None:
    """Check that a setup has a meaning, whatever adapters it names.

    Raises:
        ValueError: it has none; the message says why.
    """
    copies(setup)
    tasks = {len(block) for block in _blocks(setup) if isinstance(block, MultiTask)}
    if len(tasks) > 1:
        counts = " and ".join(map(str, sorted(tasks)))
        raise ValueError(f"{setup!r} has MultiTask blocks of {counts} children, but a row has one task")
    for block in _blocks(setup):
        if isinstance(block, (Average, Fuse, Split, MultiTask)) and not block.children:
            raise ValueError(f"{type(block).__name__} needs at least one child")
        if isinstance(block, (BatchSplit, Parallel, MultiTask)):
            inner = next((b for child in block for b in _blocks(child) if isinstance(b, MultiTask)), None)
            if inner is not None:
                raise ValueError(
                    f"{inner!r} is for all rows of the batch, whichever task they have, so it cannot lie in {block!r}, "
                    "which has rows of its own for each child"
                )


def _blocks(setup: Child) -> Iterator[AdapterCompositionBlock]:
    """All blocks in a setup, the outer ones first."""
    if isinstance(setup, AdapterCompositionBlock):
        yield setup
        for child in setup.children:
            yield from _blocks(child)


def _sizes(block: AdapterCompositionBlock, what: str, given: int | Sequence[int]) -> tuple[int, ...]:
    """A size for each child."""
    kind, count = type(block).__name__, len(block.children)
    if not isinstance(given, (int, Sequence)) or isinstance(given, str):
        raise TypeError(f"{what} is a whole number or a list of them, not {given!r}")
    sizes = (given,) * count if isinstance(given, int) else tuple(given)
    if len(sizes) != count:
        raise ValueError(f"{kind} has {count} children but {len(sizes)} {what}: {list(sizes)}")
    if any(not isinstance(size, int) or size < 0 for size in sizes):
        raise ValueError(f"{what} must be whole numbers, 0 or more, not {list(sizes)}")
    return sizes


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
