"""Rows of a batch sorted by what acts on them: runs of rows whose units act at once lie side by side.

Shapes: G runs, L tokens of the longest of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo.core.run import KV, Ctx, Cut, Final, LayoutLike, Unit
from adapterzoo.nn.linear import only_values
from adapterzoo.plan.composed import step
from adapterzoo.plan.values import apart, join, replaced, take

IDLE, ALONE = -2, -1
"""Labels of runs on which nothing acts, and of those whose unit acts by itself."""

LONG = 1024
"""Tokens from which on a run is worth products of its own: these are as quick on CPUs, and need no stacked weights."""

LARGE = 1 << 20
"""Numbers from which on stacked weights are worth memory that is used again."""

STRETCHES = 3
"""Parts up to which rows on which nothing acts are taken as they lie."""

SLACK = 32
"""Tokens of padding that cost no more than what a unit's call does."""


class Bundle(NamedTuple):
    """Runs of rows, their tokens side by side, (G, L, …); the shorter ones are padded with their last token.

    Attributes:
        runs: their numbers.
        tokens: which tokens they have, counted from the batch's first; None where `places` say it.
        places: (G·L,) the token at each place; None where the runs lie one after the other and are as long.
        back: (n,) the place of each token; None where there is no padding.
        size: G and L.
        length: on the grid, how many tokens a row has; None where padding is left out.
    """

    runs: tuple[int, ...]
    tokens: slice
    places: Tensor | None
    back: Tensor | None
    size: tuple[int, int]
    length: int | None

    def gather(self, tensor: Tensor) -> Tensor:
        """(…) by token to (G, L, …)."""
        flat = tensor if self.length is None else tensor.flatten(0, 1)
        picked: Tensor = flat[self.tokens] if self.places is None else flat.index_select(0, self.places)
        side_by_side: Tensor = picked.unflatten(0, self.size)
        return side_by_side

    def by_token(self, tensor: Tensor) -> Tensor:
        """(G, L, …) to (…) by token, of these runs' tokens alone."""
        flat = tensor.flatten(0, 1)
        flat = flat if self.back is None else flat.index_select(0, self.back)
        return flat if self.length is None else flat.unflatten(0, (-1, self.length))

    def acted(self, units: Sequence[Any], value: Any, ctx: Ctx) -> Any:
        """The units' value, by token."""
        told = ctx._replace(
            x=None if ctx.x is None else self.gather(ctx.x),
            residual=None if ctx.residual is None else self.gather(ctx.residual),
        )
        bare = value.value if isinstance(value, Final) else value
        out = acting(units, self.gather(bare), told)
        return Final(self.by_token(out.value)) if isinstance(out, Final) else self.by_token(out)


class RowBundle(NamedTuple):
    """Runs of rows, for what lies by row.

    Attributes:
        runs: their numbers.
        cut: their rows.
        which: (n,) each row's place in `runs`; None where each run has one row.
    """

    runs: tuple[int, ...]
    cut: Cut
    which: Tensor | None

    def acted(self, units: Sequence[Any], value: Any, ctx: Ctx) -> Any:
        """The units' keys and values."""
        return acting(units, take(value, self.cut), ctx, self.which)


class Lone(NamedTuple):
    """A run whose unit acts by itself, or all runs on which nothing acts."""

    runs: tuple[int, ...]
    cut: Cut

    def acted(self, units: Sequence[Any], value: Any, ctx: Ctx) -> Any:
        """The unit's value; None where nothing acts."""
        return None if units[0] is None else step(units[0], take(value, self.cut), ctx.cut(self.cut))


class Arrangement(NamedTuple):
    """A batch taken apart.

    Attributes:
        parts: the parts.
        places: which rows each has, or which tokens.
        order: what brings the parts, joined, into the batch's order; None: they are in it.
    """

    parts: tuple[Bundle | RowBundle | Lone, ...]
    places: tuple[Any, ...]
    order: Cut | None

    def joined(self, values: list[Any], whole: Any, own: bool) -> Any:
        """The parts' values as one, in the batch's order.

        Args:
            values: each part's; None where nothing acted.
            whole: what went in.
            own: whether that may be written to.
        """
        if any(value is None for value in values):
            new = [(place, value) for place, value in zip(self.places, values, strict=True) if value is not None]
            if not new:
                return whole
            if all(isinstance(value, type(whole)) and isinstance(value, Tensor | KV) for _, value in new):
                return replaced(whole, new, own)
            rest = zip(self.parts, values, strict=True)
            values = [take(whole, part.cut) if value is None else value for part, value in rest]  # type: ignore[union-attr]
        value = join(values)
        return value if self.order is None else take(value, self.order)


def acting(units: Sequence[Any], value: Any, ctx: Ctx, which: Tensor | None = None) -> Any:
    """What units that act at once make of a value.

    Their weights are stacked, each kind's along a new first dimension. Without gradients, all sites of a forward stack
    large ones in the same memory: to have new memory cleared would take longer than to fill it.

    Args:
        units: the units.
        value: the value.
        ctx: what they may look at.
        which: (B,) the number of each row's unit, where weights are by row; None: there is a row for each.
    """
    kinds = [list(weights) for weights in zip(*(unit.tensors(ctx) for unit in units), strict=True)]
    if not only_values():
        stacks = [torch.stack(weights) for weights in kinds]
        return units[0](value, ctx, *(stacks if which is None else [one.index_select(0, which) for one in stacks]))
    room: dict[Hashable, Tensor] = ctx.layout.kept.setdefault("room", {})
    out = units[0](value, ctx, *(_stacked(weights, which, room, number) for number, weights in enumerate(kinds)))
    lent = {one.untyped_storage().data_ptr() for one in room.values()}
    return apart(out, lambda tensor: tensor.untyped_storage().data_ptr() in lent)


def _stacked(weights: list[Tensor], which: Tensor | None, room: dict[Hashable, Tensor], number: int) -> Tensor:
    """The weights one after the other, or each row's; large ones in a part of the room for stacks of this number."""
    first, rows = weights[0], len(weights) if which is None else which.size(0)
    count, key = rows * first.numel(), (number, first.dtype, first.device)
    if count < LARGE:
        stack = torch.stack(weights)
        return stack if which is None else stack.index_select(0, which)
    if key not in room or room[key].numel() < count:
        room[key] = first.new_empty(count)
    out = room[key][:count].view(rows, *first.shape)
    return (
        torch.stack(weights, out=out) if which is None else torch.index_select(torch.stack(weights), 0, which, out=out)
    )


def labels_of(kinds: Sequence[Hashable], units: Sequence[Unit | None]) -> tuple[int, ...]:
    """IDLE, ALONE, or a number that units have in common that can act together.

    Args:
        kinds: what each unit agrees in with such others; None: it acts alone.
        units: the units.
    """
    count = Counter(kinds)
    numbers = {kind: number for number, kind in enumerate(count) if kind is not None and count[kind] > 1}
    pairs = zip(kinds, units, strict=True)
    return tuple(IDLE if unit is None else numbers.get(kind, ALONE) for kind, unit in pairs)


def arranged(
    layout: LayoutLike, sizes: tuple[int, ...] | None, labels: tuple[int, ...], by_row: bool, device: torch.device
) -> Arrangement:
    """A batch taken apart by its runs' labels. Made once for a layout.

    Args:
        layout: how the rows lie.
        sizes: rows of each run; None: what the layout's groups say.
        labels: each run's, again and again if there are more runs.
        by_row: whether it is for what lies by row, not by token.
        device: where indices are needed.
    """
    key = (sizes, labels, by_row, device)
    if key not in layout.kept:
        layout.kept[key] = _arranged(layout, layout.cuts(sizes), labels, by_row, device)
    found: Arrangement = layout.kept[key]
    return found


def _arranged(
    layout: LayoutLike, cuts: list[Cut], labels: tuple[int, ...], by_row: bool, device: torch.device
) -> Arrangement:
    parts: list[Bundle | RowBundle | Lone] = []
    for label, runs in _kinds(cuts, labels, by_row):
        if label in (IDLE, ALONE):
            parts += [_lone(cuts, some, layout.packed, device) for some in _stretches(cuts, runs)]
        elif by_row:
            parts.append(_row_bundle(cuts, runs, device))
        else:
            parts += _bundles(layout, cuts, runs, device)
    parts.sort(key=lambda part: part.runs[0])
    tokens = layout.packed and not by_row
    lying = [[cuts[run].tokens if tokens else cuts[run].rows for run in part.runs] for part in parts]
    places = tuple(_place(some, device) for some in lying)
    whole = _place([one for some in lying for one in some], device) if parts else slice(0, 0)
    order: Any = None if isinstance(whole, slice) else whole.argsort()
    return Arrangement(tuple(parts), places, None if order is None else Cut(order, order, layout))


def _kinds(cuts: list[Cut], labels: tuple[int, ...], by_row: bool) -> list[tuple[int, list[int]]]:
    """The runs that have rows (tokens, where these count), by label: those alone each for itself."""
    alone: list[tuple[int, list[int]]] = []
    together: dict[int, list[int]] = {}
    for run, cut in enumerate(cuts):
        label = labels[run % len(labels)]
        lies = cut.rows if by_row else cut.tokens  # a Split may leave a run without a token
        if lies.start == lies.stop:
            continue
        if label == ALONE:
            alone.append((label, [run]))
        else:
            together.setdefault(label, []).append(run)
    return [*alone, *together.items()]


def _stretches(cuts: list[Cut], runs: list[int]) -> list[list[int]]:
    """The runs by where they lie one after the other, if that makes few parts: slices cost nothing, indices copies."""
    found = [runs[:1]]
    for before, run in pairwise(runs):
        if cuts[before].rows.stop == cuts[run].rows.start:
            found[-1].append(run)
        else:
            found.append([run])
    return found if len(found) <= STRETCHES else [runs]


def _lone(cuts: list[Cut], runs: list[int], packed: bool, device: torch.device) -> Lone:
    rows = _place([cuts[run].rows for run in runs], device)
    tokens = _place([cuts[run].tokens for run in runs], device) if packed else rows
    return Lone(tuple(runs), Cut(rows, tokens, cuts[runs[0]].layout))


def _place(slices: list[slice], device: torch.device) -> Any:
    """Where some runs lie: one slice if they lie one after the other, else an index."""
    joined = slices[:1]
    for one in slices[1:]:
        if joined[-1].stop == one.start:
            joined[-1] = slice(joined[-1].start, one.stop)
        else:
            joined.append(one)
    if len(joined) == 1:
        return joined[0]
    return torch.cat([torch.arange(one.start, one.stop, device=device) for one in joined])


def _row_bundle(cuts: list[Cut], runs: list[int], device: torch.device) -> RowBundle:
    rows = _place([cuts[run].rows for run in runs], device)
    sizes = [cuts[run].rows.stop - cuts[run].rows.start for run in runs]
    which = None if max(sizes) == 1 else torch.arange(len(runs)).repeat_interleave(torch.tensor(sizes)).to(device)
    return RowBundle(tuple(runs), Cut(rows, rows, cuts[runs[0]].layout), which)


def _bundles(layout: LayoutLike, cuts: list[Cut], runs: list[int], device: torch.device) -> list[Bundle | Lone]:
    """Runs whose units act at once, those together that are about as long."""
    length = None if layout.packed else layout.length
    spans = {run: _span(cuts[run], length) for run in runs}
    classes: list[list[int]] = []
    for run in sorted(runs, key=lambda run: spans[run].start - spans[run].stop):
        size, longest = (spans[one].stop - spans[one].start for one in (run, classes[-1][0] if classes else run))
        if classes and longest < LONG and longest <= max(2 * size, size + SLACK):
            classes[-1].append(run)
        else:
            classes.append([run])
    return [
        _bundle(sorted(some), [spans[run] for run in sorted(some)], length, device)
        if len(some) > 1
        else Lone((some[0],), cuts[some[0]])
        for some in classes
    ]


def _span(cut: Cut, length: int | None) -> slice:
    """A run's tokens, counted from the batch's first."""
    found: slice = cut.tokens
    return found if length is None else slice(cut.rows.start * length, cut.rows.stop * length)


def _bundle(runs: list[int], spans: list[slice], length: int | None, device: torch.device) -> Bundle:
    sizes = [span.stop - span.start for span in spans]
    longest, whole = max(sizes), slice(spans[0].start, spans[-1].stop)
    even, index, back = min(sizes) == longest, None, None
    if not even or whole.stop - whole.start != sum(sizes):
        count, places = torch.tensor(sizes)[:, None], torch.arange(longest)
        index = (torch.tensor([span.start for span in spans])[:, None] + places.minimum(count - 1)).flatten()
        index = index.to(device)
        back = None if even else (places < count).flatten().nonzero().squeeze(1).to(device)
    return Bundle(tuple(runs), whole, index, back, (len(runs), longest), length)
