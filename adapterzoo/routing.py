"""Who acts on which row in one call: the plan, and the order that brings rows of one kind together."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.context import current_scope, current_skip
from adapterzoo.core.registry import listing
from adapterzoo.core.sites import existing_layers
from adapterzoo.nn.transformer import Transformer
from adapterzoo.plan import Plan
from adapterzoo.pool import AdapterPool


class Routing(NamedTuple):
    """Who acts on which row.

    Attributes:
        plan: the adapters.
        order: the rows' numbers in the order in which they are run; None: as they are.
        groups: sizes of the runs of rows that have an adapter or a task each.
    """

    plan: Plan
    order: list[int] | None
    groups: tuple[int, ...]

    @property
    def whole_order(self) -> list[int] | None:
        """The order of all copies of the batch, where the plan answers it several times."""
        if self.order is None:
            return None
        rows = len(self.order)
        return [copy * rows + row for copy in range(self.plan.copies) for row in self.order]


def route(
    pool: AdapterPool,
    network: Transformer,
    names: Any,
    tasks: Any,
    rows: int,
    last: Container[str],
    noted: bool = False,
) -> Routing:
    """Who acts in a call.

    Args:
        pool: the adapters.
        network: what they act on.
        names: `adapter_names` of the call.
        tasks: `task_ids` of the call.
        rows: rows (questions, where there are choices) of the batch.
        last: names whose rows come after all others.
        noted: whether units tell scores.

    Raises:
        TypeError: names or tasks are no lists.
        ValueError: they are not one for each row, or of what there is not; or there is no MultiTask, or none is said.
    """
    skipped = current_skip()
    skip = pool.skip_layers if skipped is None else existing_layers("skip_layers", skipped, network.config)
    if names is not None:
        if tasks is not None:
            raise ValueError("adapter_names say each row's adapter already; task_ids are for a MultiTask setup")
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise TypeError(f"adapter_names is a list with a name or None for each row, not {names!r}")
        if len(names) != rows:
            raise ValueError(f"adapter_names has {len(names)} names, but the batch has {rows} rows")
        # Rows without a head of their adapter's name share one: they lie together, for its loss is their mean.
        plan, order, groups = pool.rows_plan(names, network, last, skip, noted)
        return Routing(plan, _unless_sorted(order), groups)
    scope = current_scope()
    plan = pool.plan(pool.active if scope is None else pool.checked(scope.adapters), network, skip, noted)
    if tasks is None and not plan.tasks:
        return Routing(plan, None, ())
    numbers = _numbers(tasks, plan, rows)
    groups = tuple(map(numbers.count, range(len(plan.tasks))))
    return Routing(plan, _unless_sorted(sorted(range(rows), key=numbers.__getitem__)), groups)


def _unless_sorted(order: list[int]) -> list[int] | None:
    return None if order == sorted(order) else order


def _numbers(tasks: Any, plan: Plan, rows: int) -> list[int]:
    """Each row's task, by its number."""
    if tasks is None:
        raise ValueError(f"{plan.setup!r} has a child for each task: say each row's task by task_ids")
    if not plan.tasks:
        raise ValueError(f"task_ids are for a MultiTask setup, but what is active is {plan.setup!r}")
    given = tasks.tolist() if isinstance(tasks, Tensor) else tasks
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"task_ids is a list or tensor with a number or name for each row, not {tasks!r}")
    if len(given) != rows:
        raise ValueError(f"task_ids has {len(given)} tasks, but the batch has {rows} rows")
    by_name = {name: number for number, names in enumerate(plan.tasks) for name in names}
    numbers = [by_name.get(task, -1) if isinstance(task, str) else task for task in given]
    for task, number in zip(given, numbers, strict=True):
        if type(number) is not int or not 0 <= number < len(plan.tasks):
            there = f"0 to {len(plan.tasks) - 1}" + (f", by name {listing(by_name)}" if by_name else "")
            raise ValueError(f"task_ids holds {task!r}, but the tasks of {plan.setup!r} are {there}")
    return numbers
