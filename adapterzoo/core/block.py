"""What every composition is: a hashable value, a tree of blocks whose leaves are adapters' names."""

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
        """What distinguishes two blocks of one kind with the same children: arguments of the class, hashable."""
        return {}

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.children, tuple(self.options().items()))

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
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in self.options().items()}
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


def names_in(setup: Child) -> Iterator[str]:
    """The adapters' names in a setup, in order, repetitions included."""
    if isinstance(setup, str):
        yield setup
    else:
        for child in setup.children:
            yield from names_in(child)
