"""Which head a forward uses: `head=` of the call, else that of AdapterSetup, else the active one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from adapterzoo.context import Scope
from adapterzoo.core.compose import AdapterCompositionBlock, BatchSplit, Child, Parallel, names_in
from adapterzoo.core.registry import NamedModules
from adapterzoo.heads.base import PredictionHead


@dataclass(frozen=True)
class HeadChoice:
    """The heads of one forward.

    Attributes:
        heads: names; None where rows have no head. Empty: the model's own output is wanted.
        by_rows: whether each head has its own rows; else each has all.
        sizes: how many rows each has; None for the whole batch.
        order: each row's number in the caller's batch, where rows were brought into another order.
    """

    heads: tuple[str | None, ...] = ()
    by_rows: bool = False
    sizes: tuple[int | None, ...] = ()
    order: list[int] | None = None

    def rows(self, batch: int) -> tuple[int, ...]:
        """How many rows each head has, in a batch of so many."""
        return tuple(batch if size is None else size for size in self.sizes)

    @staticmethod
    def names(setup: Any) -> Iterator[str]:
        """The heads' names in what a user wrote.

        Raises:
            TypeError: it is no head's name, list of names or block of names.
        """
        if not setup:
            return
        if isinstance(setup, (str, AdapterCompositionBlock)):
            yield from names_in(setup)
        elif isinstance(setup, Sequence):
            for name in setup:
                yield from HeadChoice.names(name)
        else:
            raise TypeError(f"heads are a name, a list of names, or a block such as BatchSplit(…), not {setup!r}")

    @staticmethod
    def of(setup: Any, heads: NamedModules[PredictionHead]) -> HeadChoice:
        """What a user wrote, all of whose heads exist.

        Raises:
            UnknownName: one does not.
        """
        for name in HeadChoice.names(setup):
            heads[name]  # for the error
        if isinstance(setup, (BatchSplit, Parallel)):
            runs = _runs(setup, None)
            return HeadChoice(tuple(name for name, _ in runs), True, tuple(rows for _, rows in runs))
        return HeadChoice(tuple(HeadChoice.names(setup)))


def _runs(node: Child, rows: int | None) -> list[tuple[str | None, int | None]]:
    """The last name for each run of rows, and how many rows these are; None where rows have no name.

    Args:
        node: a name or a setup.
        rows: how many rows it sees, None for the whole batch. Only a split divides them, and it knows itself.
    """
    if isinstance(node, str):
        return [(node, rows)]
    if isinstance(node, Parallel):
        return [run for child in node.children for run in _runs(child, rows)]
    if isinstance(node, BatchSplit):
        parts = zip(node.children, node.batch_sizes, strict=True)
        return [run for child, size in parts for run in _runs(child, size)]
    last = next((child for child in reversed(node.children) if any(names_in(child))), None)
    return [(None, rows)] if last is None else _runs(last, rows)


def heads_from_setup(setup: AdapterCompositionBlock | None, heads: NamedModules[PredictionHead]) -> Any:
    """The heads that belong to a setup's adapters by name; None where one of them is missing.

    A stack's head is its last adapter's; a BatchSplit's are its children's, each for its rows, and so are Parallel's.
    """
    if setup is None:
        return None
    runs = _runs(setup, None)
    there = [(name, rows) for name, rows in runs if rows != 0] or runs[:1]
    names = [name for name, _ in there if name is not None and name in heads]
    if len(names) < len(there):
        return None
    if len(set(names)) == 1:
        return names[0]
    sizes = [rows for _, rows in there if rows is not None]
    if not sizes:
        return Parallel(*names)
    return BatchSplit(*names, batch_sizes=sizes) if len(sizes) == len(there) else None


def choose(
    heads: NamedModules[PredictionHead],
    asked: Any,
    scope: Scope | None,
    names: Sequence[str | None] | None,
    order: list[int] | None,
    active: Any,
) -> HeadChoice:
    """The heads of one forward, by priority. With `adapter_names`, a row's head is that of its adapter's name.

    Args:
        heads: the model's heads.
        asked: `head=` of the call.
        scope: what AdapterSetup asks for.
        names: `adapter_names` of the call.
        order: the order in which rows are run.
        active: the active head or heads.

    Raises:
        UnknownName: a head does not exist.
    """
    if asked is not None:
        return HeadChoice.of(asked, heads)
    scoped = None
    if scope is not None:  # with names of its own, the call does not ask for the scope's adapters
        scoped = scope.heads or (heads_from_setup(scope.adapters, heads) if names is None else None)
    otherwise = scoped or active
    if names is not None and any(name in heads for name in names if name is not None):
        return _by_row(heads, names, order, otherwise)
    return HeadChoice.of(otherwise, heads)


def _by_row(
    heads: NamedModules[PredictionHead], names: Sequence[str | None], order: list[int] | None, otherwise: Any
) -> HeadChoice:
    fallback = otherwise if isinstance(otherwise, str) else None
    ordered = [names[row] for row in (order or range(len(names)))]
    wanted = [name if name is not None and name in heads else fallback for name in ordered]
    kinds: list[str | None] = []
    sizes: list[int] = []
    for head in wanted:
        if kinds and kinds[-1] == head:
            sizes[-1] += 1
        else:
            kinds.append(head)
            sizes.append(1)
    if len(kinds) == 1 and kinds[0] is not None:
        return HeadChoice((kinds[0],))
    return HeadChoice(tuple(kinds), True, tuple(sizes), order)
