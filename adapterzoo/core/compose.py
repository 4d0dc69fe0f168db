"""Compositions: hashable values that say which adapters act, in which order, on which rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

from adapterzoo.core.registry import Registry, UnknownName

Child = Union[str, "AdapterCompositionBlock"]
Setup = Union[None, str, Sequence[Any], "AdapterCompositionBlock"]

BLOCKS: Registry[type[AdapterCompositionBlock]] = Registry("composition block")


class AdapterCompositionBlock:
    """A node of a composition: children, which are adapters' names or further blocks. Immutable and hashable."""

    __slots__ = ("children",)
    children: tuple[Child, ...]

    def __init__(self, *children: Child) -> None:
        for child in children:
            if not isinstance(child, (str, AdapterCompositionBlock)):
                raise TypeError(f"a composition holds adapters' names and blocks, not {child!r}")
        object.__setattr__(self, "children", tuple(children))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("compositions are values: make a new one instead of changing this one")

    def __reduce__(self) -> tuple[Any, ...]:  # how copies and pickles are made, which would set attributes
        return _made, (type(self), self.children, self.options())

    def options(self) -> dict[str, Any]:
        """What distinguishes two blocks of one kind with the same children."""
        return {}

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.children, tuple((k, tuple(v)) for k, v in self.options().items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AdapterCompositionBlock) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __getitem__(self, index: int) -> Child:
        return self.children[index]

    def __len__(self) -> int:
        return len(self.children)

    def __iter__(self) -> Iterator[Child]:
        return iter(self.children)

    def __repr__(self) -> str:
        return f"{type(self).__name__}[{', '.join(map(str, self.children))}]"

    def first(self) -> str:
        """The first adapter's name, however deep."""
        child = self.children[0]
        return child if isinstance(child, str) else child.first()

    def last(self) -> str:
        """The last adapter's name, however deep."""
        child = self.children[-1]
        return child if isinstance(child, str) else child.last()

    def flatten(self) -> set[str]:
        """All adapters' names in it."""
        return set(names_in(self))

    def to_dict(self) -> dict[str, Any]:
        """As plain data, in the layout of AdapterHub's `adapter_setup.json`."""
        children = [c.to_dict() if isinstance(c, AdapterCompositionBlock) else _single(c) for c in self.children]
        options = {k: list(v) for k, v in self.options().items()}
        return {"type": type(self).__name__, "children": children, **({"kwargs": options} if options else {})}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> AdapterCompositionBlock:
        """The inverse of `to_dict`.

        Raises:
            ValueError: it is none of its results.
        """
        try:
            block = BLOCKS[data["type"]]
            return block(*map(_child_from_dict, data["children"]), **data.get("kwargs", {}))
        except UnknownName:
            raise
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"{data!r} describes no composition") from error


def _made(
    kind: type[AdapterCompositionBlock], children: tuple[Child, ...], options: dict[str, Any]
) -> AdapterCompositionBlock:
    return kind(*children, **options)


def _single(name: str) -> dict[str, Any]:
    return {"type": "single", "children": [name]}


def _child_from_dict(data: Mapping[str, Any]) -> Child:
    return data["children"][0] if data["type"] == "single" else AdapterCompositionBlock.from_dict(data)


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
        if not isinstance(batch_sizes, (int, Sequence)) or isinstance(batch_sizes, str):
            raise TypeError(f"batch_sizes is a whole number or a list of them, not {batch_sizes!r}")
        sizes = (batch_sizes,) * len(children) if isinstance(batch_sizes, int) else tuple(batch_sizes)
        if len(sizes) != len(children):
            raise ValueError(f"BatchSplit has {len(children)} children but {len(sizes)} batch_sizes: {list(sizes)}")
        if any(not isinstance(size, int) or size < 0 for size in sizes):
            raise ValueError(f"batch_sizes must be whole numbers, 0 or more, not {list(sizes)}")
        object.__setattr__(self, "batch_sizes", sizes)

    def options(self) -> dict[str, Any]:
        """The sizes."""
        return {"batch_sizes": self.batch_sizes}


@BLOCKS.register("Parallel")
class Parallel(AdapterCompositionBlock):
    """Each child for the whole batch: N children give N·B rows, child by child, as if the batch were repeated."""

    __slots__ = ()


class RowGroups(AdapterCompositionBlock):
    """As BatchSplit, with sizes that each batch brings: what `adapter_names=[…]` becomes. Not for users to write."""

    __slots__ = ()


def names_in(setup: Child) -> Iterator[str]:
    """The adapters' names in a setup, in order, repetitions included."""
    if isinstance(setup, str):
        yield setup
    else:
        for child in setup.children:
            yield from names_in(child)


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
