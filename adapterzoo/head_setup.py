"""Which head a forward uses: `head=` of the call, else that of AdapterSetup, else the active one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from adapterzoo.context import Scope
from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    BatchSplit,
    Child,
    MultiTask,
    Parallel,
    Stack,
    blocks_in,
    names_in,
    outside_tasks,
)
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

    def repeats(self, batch: int, copies: int) -> int:
        """How many times these runs of rows lie in so many copies of a batch of so many rows."""
        times, rest = divmod(sum(self.rows(batch)), batch)
        return copies // times if times and not rest and copies % times == 0 else 1

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
    def of(
        setup: Any,
        heads: NamedModules[PredictionHead],
        groups: tuple[int, ...] = (),
        by_name: bool = False,
        order: list[int] | None = None,
    ) -> HeadChoice:
        """What a user wrote, all of whose heads exist.

        Args:
            setup: the heads.
            heads: the model's heads.
            groups: how many rows there are of each task, or of each adapter.
            by_name: whether it is of each adapter.
            order: the order in which rows are run.

        Raises:
            UnknownName: one does not.
            ValueError: there are heads for other tasks than those of the rows; or heads for rows by their order in the
                batch, where adapters have other rows.
        """
        for name in HeadChoice.names(setup):
            heads[name]  # for the error
        if not isinstance(setup, ByRows):
            return HeadChoice(tuple(HeadChoice.names(setup)))
        tasks = () if by_name else groups
        if any(isinstance(block, MultiTask) and len(block) != len(tasks) for block in blocks_in(setup)):
            there = f"tasks 0 to {len(tasks) - 1}" if tasks else "no tasks, for no MultiTask setup is active"
            raise ValueError(f"the heads are {setup!r}, but rows have {there}")
        if groups and any(isinstance(block, BatchSplit) for block in outside_tasks(setup)):
            kind = "adapter_names" if by_name else "task_ids"
            raise ValueError(f"the heads {setup!r} take rows by their order in the batch, but adapters by {kind}")
        runs = _runs(setup, None, tasks)
        return HeadChoice(tuple(name for name, _ in runs), True, tuple(rows for _, rows in runs), order)


ByRows = (BatchSplit, MultiTask, Parallel)


def _runs(node: Child, rows: int | None, groups: tuple[int, ...]) -> list[tuple[str, int | None]]:
    """The head for each run of rows, and how many rows these are.

    Args:
        node: a head's name or a block of names.
        rows: how many rows it sees, None for the whole batch. Only blocks that know how divide them.
        groups: how many rows there are of each task.
    """
    if isinstance(node, str):
        return [(node, rows)]
    sizes: Sequence[int | None] = [rows] * len(node)
    if isinstance(node, (BatchSplit, MultiTask)):
        sizes = node.batch_sizes if isinstance(node, BatchSplit) else groups
    children = node.children if isinstance(node, ByRows) else node.children[-1:]
    return [run for child, size in zip(children, sizes, strict=False) for run in _runs(child, size, groups)]


def heads_from_setup(setup: AdapterCompositionBlock | None, heads: NamedModules[PredictionHead]) -> Any:
    """The heads that belong to a setup's adapters by name; None where one of them is missing.

    A stack's head is its last adapter's; a BatchSplit's are its children's, each for its rows, and so are those of
    Parallel and MultiTask. What mixes its children for one row, such as Average, has none.
    """
    found = None if setup is None else _named(setup)
    if found is None or any(name not in heads for name in names_in(found)):
        return None
    names = list(dict.fromkeys(names_in(found)))
    return names[0] if len(names) == 1 else found


def _named(node: Child) -> Child | None:
    """The names of each run of rows in blocks as the setup has them; None where rows have none."""
    if isinstance(node, Stack):
        last = next((child for child in reversed(node.children) if any(names_in(child))), None)
        return None if last is None else _named(last)
    if not isinstance(node, ByRows):
        return node if isinstance(node, str) else None
    sizes = node.batch_sizes if isinstance(node, BatchSplit) else (None,) * len(node)
    parts: list[tuple[Child, int | None]] = []
    for child, size in zip(node.children, sizes, strict=True):
        own = _named(child) if size != 0 else None
        if own is None and size != 0:
            return None
        parts += _unnested(type(node), own, size) if own is not None else []
    if not parts:
        return _named(node.children[0]) if node.children else None
    names = [name for name, _ in parts]
    if isinstance(node, BatchSplit):
        return BatchSplit(*names, batch_sizes=[size or 0 for _, size in parts])
    return type(node)(*names)


def _unnested(kind: type[AdapterCompositionBlock], child: Child, size: int | None) -> list[tuple[Child, int | None]]:
    """A block's child, or that one's own children if it is a block of the same kind."""
    if isinstance(child, BatchSplit) and kind is BatchSplit:
        return list(zip(child.children, child.batch_sizes, strict=True))
    return [(one, None) for one in child] if isinstance(child, Parallel) and kind is Parallel else [(child, size)]


def choose(
    heads: NamedModules[PredictionHead],
    asked: Any,
    scope: Scope | None,
    names: Sequence[str | None] | None,
    order: list[int] | None,
    groups: tuple[int, ...],
    active: Any,
) -> HeadChoice:
    """The heads of one forward, by priority. With `adapter_names`, a row's head is that of its adapter's name.

    Args:
        heads: the model's heads.
        asked: `head=` of the call.
        scope: what AdapterSetup asks for.
        names: `adapter_names` of the call.
        order: the order in which rows are run.
        groups: how many rows there are of each adapter or task.
        active: the active head or heads.

    Raises:
        UnknownName: a head does not exist.
        ValueError: heads have other rows than adapters; see `HeadChoice.of`.
    """
    by_name = names is not None
    if asked is not None:
        return HeadChoice.of(asked, heads, groups, by_name, order)
    scoped = None
    if scope is not None:  # with names of its own, the call does not ask for the scope's adapters
        scoped = scope.heads or (heads_from_setup(scope.adapters, heads) if names is None else None)
    otherwise = scoped or active
    if names is not None and any(name in heads for name in names if name is not None):
        return _by_row(heads, names, order, otherwise)
    return HeadChoice.of(otherwise, heads, groups, by_name, order)


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
