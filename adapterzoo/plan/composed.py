"""What compositions are at a site: units made of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.run import KV, Ctx, Cut, Final, Tokens, Unit
from adapterzoo.plan.values import join_spans, split_kv, take, take_queries


class Parts(NamedTuple):
    """What setups are compiled from.

    Attributes:
        adapters: the adapters by name.
        fusions: what `Fuse` weighs them by, by name.
        network: the network's numbers.
        noted: whether units tell scores.
    """

    adapters: Mapping[str, Any]
    fusions: Mapping[str, Any]
    network: NetworkConfig
    noted: bool = False


class Composed:
    """A composition at a site: a unit made of units, of which None leaves the value as it is."""

    units: tuple[Unit | None, ...]

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The value as the composition leaves it."""
        raise TypeError(f"{type(self).__name__} says nothing")

    def everywhere(self) -> bool:
        """Whether something acts on every token of every row."""
        return any(unit is not None and acts_everywhere(unit) for unit in self.units)

    def where(self, value: Any, ctx: Ctx) -> Tensor:
        """Where something acts, as `marked` has it."""
        marks = [where_acts(unit, value, ctx) for unit in self.units]
        return torch.stack(marks).any(0)


def step(unit: Unit, value: Any, ctx: Ctx) -> Any:
    """One unit's turn. A method's sees what is in a Final; a composition may leave some rows Final."""
    return unit(value.value if isinstance(value, Final) and not isinstance(unit, Composed) else value, ctx)


def acts_everywhere(unit: Unit) -> bool:
    """Whether a unit acts on every token of every row."""
    return not isinstance(unit, Composed) or unit.everywhere()


def where_acts(unit: Unit | None, value: Any, ctx: Ctx) -> Tensor:
    """Where a unit acts, as `marked` has it."""
    return unit.where(value, ctx) if isinstance(unit, Composed) else marked(value, unit is not None)


def marked(value: Any, on: bool) -> Tensor:
    """True or False for each row (B, 1) of keys and values or of what goes into a stack, else by token (…, 1)."""
    if isinstance(value, KV):
        return torch.full((value.k.size(0), 1), on, device=value.k.device)
    if isinstance(value, Tokens):
        return torch.full((value.x.size(0), 1), on, device=value.x.device)
    plain = value.value if isinstance(value, Final) else value
    return torch.full((*plain.shape[:-1], 1), on, device=plain.device)


class Chain(Composed):
    """One after the other."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = tuple(units)

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The last one's value."""
        for unit in self.units:
            assert unit is not None
            value = step(unit, value, ctx)
        return value


class OnSpans(Composed):
    """Each unit on its own columns. A prefix before keys and values is for the queries of these columns alone.

    Args:
        sizes: how many columns each unit has.
        units: the units.
    """

    def __init__(self, sizes: tuple[int, ...], units: Sequence[Unit | None]) -> None:
        self.sizes, self.units = sizes, tuple(units)

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """All columns."""
        spans = ctx.layout.spans(self.sizes)
        if isinstance(value, KV):
            parts = [self._part(unit, take_queries(value, cut), cut, ctx) for unit, cut in self._cuts(spans.cuts)]
            return split_kv(value, parts, spans)
        parts = [self._part(unit, take(value, cut), cut, ctx) for unit, cut in self._cuts(spans.cuts)]
        return join_spans(parts, spans)

    def _cuts(self, cuts: list[Cut]) -> zip[tuple[Unit | None, Cut]]:
        return zip(self.units, cuts, strict=True)

    @staticmethod
    def _part(unit: Unit | None, value: Any, cut: Cut, ctx: Ctx) -> Any:
        if unit is None or cut.columns.start == cut.columns.stop:
            return value
        return step(unit, value, ctx.cut(cut))

    def everywhere(self) -> bool:
        """Whether all do so."""
        return all(unit is not None and acts_everywhere(unit) for unit in self.units)

    def where(self, value: Any, ctx: Ctx) -> Tensor:
        """Each column's own; of keys and values, whether any column of the row has one."""
        spans = ctx.layout.spans(self.sizes)
        if isinstance(value, KV):
            return torch.stack([where_acts(unit, value, ctx.cut(cut)) for unit, cut in self._cuts(spans.cuts)]).any(0)
        parts = [where_acts(unit, take(value, cut), ctx.cut(cut)) for unit, cut in self._cuts(spans.cuts)]
        marks: Tensor = join_spans(parts, spans)
        return marks
