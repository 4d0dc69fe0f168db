"""What each kind of block becomes at a site: one callable, made of its children's.

It threads `value = unit(value, ctx)` and knows no method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    Average,
    BatchSplit,
    MultiTask,
    Parallel,
    RowGroups,
    Split,
    Stack,
    copies,
)
from adapterzoo.core.run import KV, Ctx, Cut, Final, LayoutLike, Tokens, Unit
from adapterzoo.core.sites import Site
from adapterzoo.plan.values import join, join_spans, split_kv, take

ByRows = BatchSplit | MultiTask | Parallel | RowGroups


class Parts(NamedTuple):
    """What setups are compiled from.

    Attributes:
        adapters: the adapters by name.
        fusions: what `Fuse` weighs them by, by name.
        noted: whether units tell scores.
    """

    adapters: Mapping[str, Any]
    fusions: Mapping[str, Any]
    noted: bool = False


class Composed:
    """A composition at a site: a unit made of units, of which None leaves the value as it is."""

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The value as the composition leaves it."""
        raise TypeError(f"{type(self).__name__} says nothing")


def step(unit: Unit, value: Any, ctx: Ctx) -> Any:
    """One unit's turn. A method's sees what is in a Final; a composition may leave some rows Final."""
    return unit(value.value if isinstance(value, Final) and not isinstance(unit, Composed) else value, ctx)


class Chain(Composed):
    """One after the other."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = tuple(units)

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The last one's value."""
        for unit in self.units:
            value = step(unit, value, ctx)
        return value


def compile_stack(node: Stack, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """What inverts comes in reverse order."""
    there = [unit for unit in units if unit is not None]
    if len(there) == 1:
        return there[0]
    return Chain(there[::-1] if site.name == "unembed" else there)


class OnRows(Composed):
    """Each unit on its own rows, the results joined."""

    def __init__(self, node: ByRows, units: list[Unit | None]) -> None:
        self.node, self.units = node, tuple(units)

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """All rows."""
        parts = []
        for unit, cut in zip(self.units, ctx.layout.cuts(row_sizes(self.node, ctx.layout)), strict=True):
            if cut.rows.start < cut.rows.stop:
                part = take(value, cut)
                parts.append(part if unit is None else step(unit, part, ctx.cut(cut)))
        return join(parts)


def compile_rows(node: ByRows, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """Rows lie at every site in the same order."""
    return OnRows(node, units)


def row_sizes(node: ByRows, layout: LayoutLike) -> tuple[int, ...] | None:
    """How many rows (questions, where there are choices) each child has; None: what the layout's groups say."""
    if isinstance(node, Parallel):
        shares = [copies(child) for child in node.children]
        batch = layout.rows // layout.choices // sum(shares)
        return tuple(share * batch for share in shares)
    return node.batch_sizes if isinstance(node, BatchSplit) else None


class OnSpans(Composed):
    """Each unit on its own columns. A prefix before keys and values is for the queries of these columns alone."""

    def __init__(self, sizes: tuple[int, ...], units: list[Unit | None]) -> None:
        self.sizes, self.units = sizes, tuple(units)

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """All columns."""
        spans = ctx.layout.spans(self.sizes)
        if isinstance(value, KV):
            parts = [self._part(unit, value, cut, ctx) for unit, cut in zip(self.units, spans.cuts, strict=True)]
            return split_kv(value, parts, spans)
        parts = [self._part(unit, take(value, cut), cut, ctx) for unit, cut in zip(self.units, spans.cuts, strict=True)]
        return join_spans(parts, spans)

    @staticmethod
    def _part(unit: Unit | None, value: Any, cut: Cut, ctx: Ctx) -> Any:
        if unit is None or cut.columns.start == cut.columns.stop:
            return value
        return step(unit, value, ctx.cut(cut))


def compile_split(node: Split, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """Prompts are for whole rows.

    Raises:
        ValueError: a child adds a prompt.
    """
    if site.kind == "tokens":
        raise ValueError(f"{node!r}: a prompt is seen by all of a row, so it cannot be for some positions alone")
    return OnSpans(node.splits, units)


class Mean(Composed):
    """Σ wᵢ·oᵢ."""

    def __init__(self, weights: Sequence[float], units: Sequence[Unit]) -> None:
        self.weights, self.units = tuple(weights), tuple(units)

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The weighted sum of the units' values."""
        outs = [step(unit, value, ctx) for unit in self.units]
        if isinstance(value, KV):
            new = outs[0].prefix - value.prefix
            k, v = (self._sum([pick(out)[:, :, :new] for out in outs]) for pick in (_keys, _values))
            return KV(torch.cat([k, value.k], 2), torch.cat([v, value.v], 2), outs[0].prefix, outs[0].valid)
        if isinstance(value, Tokens):
            return outs[0]._replace(x=self._sum([out.x for out in outs]))
        if any(isinstance(out, Final) for out in outs):
            return Final(self._sum([_finished(out, ctx) for out in outs]))
        return self._sum(outs)

    def _sum(self, tensors: list[Tensor]) -> Tensor:
        total = tensors[0] * self.weights[0]
        for weight, tensor in zip(self.weights[1:], tensors[1:], strict=True):
            total = total + tensor * weight
        return total


def _keys(value: KV) -> Tensor:
    return value.k


def _values(value: KV) -> Tensor:
    return value.v


def _finished(value: Tensor | Final, ctx: Ctx) -> Tensor:
    """What a block puts out: a join's value with the residual and the LayerNorm that follow, where they do."""
    if isinstance(value, Final) and value.where is None:
        return value.value
    assert ctx.residual is not None
    plain = ctx.residual + (value.value if isinstance(value, Final) else value)
    plain = plain if ctx.norm is None else ctx.norm(plain)
    if not isinstance(value, Final) or value.where is None:
        return plain
    return torch.where(value.where, value.value, plain)


def compile_average(node: Average, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """Over those that are there, whose weights take over those of the others.

    Raises:
        ValueError: the weights of those that are there add up to 0 and those of all do not; or the children add
            different numbers of positions; or they would have to be inverted.
    """
    refuse_inverses(node, units, site)
    there = [(weight, unit) for weight, unit in zip(node.weights, units, strict=True) if unit is not None]
    if site.kind in ("kv", "tokens"):
        lengths = {added(child, site, parts) for child, unit in zip(node.children, units, strict=True) if unit}
        if len(lengths) > 1 or None in lengths:
            raise ValueError(f"{node!r} would average prefixes or prompts of different lengths")
    share, whole = sum(weight for weight, _ in there), sum(node.weights)
    if len(there) < len(units) and share != whole:
        if share == 0:
            raise ValueError(f"{node!r}: the weights of the children that act at {site.path} add up to 0")
        there = [(weight * whole / share, unit) for weight, unit in there]
    return Mean(*zip(*there, strict=True))


def refuse_inverses(node: AdapterCompositionBlock, units: list[Unit | None], site: Site) -> None:
    """Refuse a block whose children invert something: it is no function of one of them that could be inverted.

    Raises:
        ValueError: they do.
    """
    if site.name == "unembed":
        raise ValueError(f"{node!r} would put several invertible adapters' outputs together, which cannot be inverted")


def added(node: Any, site: Site, parts: Parts) -> tuple[Any, ...] | None:
    """The prefixes or prompts that a node adds to every row; None if that depends on the row."""
    if isinstance(node, str):
        unit = parts.adapters[node].unit(site)
        return () if unit is None else ((unit.positions, getattr(unit, "combine", None)),)
    inside = [added(child, site, parts) for child in node.children]
    if isinstance(node, Stack):
        return None if None in inside else tuple(one for child in inside if child is not None for one in child)
    return inside[0] if len(set(inside)) == 1 else None


COMPILERS: dict[type[AdapterCompositionBlock], Callable[[Any, list[Unit | None], Site, Parts], Unit]] = {
    Stack: compile_stack,
    Average: compile_average,
    Split: compile_split,
    BatchSplit: compile_rows,
    MultiTask: compile_rows,
    Parallel: compile_rows,
    RowGroups: compile_rows,
}
