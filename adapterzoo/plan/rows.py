"""Rows of one batch under different units: those that can act at once do, each other one on its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.compose import BatchSplit, MultiTask, Parallel, RowGroups, copies
from adapterzoo.core.run import KV, BlockNorm, Ctx, Cut, KVPart, LayoutLike, Tokens, Unit
from adapterzoo.plan.bundles import Bundle, Lone, RowBundle, arranged
from adapterzoo.plan.composed import Composed, acts_everywhere, step, where_acts
from adapterzoo.plan.values import join, take

ByRows = BatchSplit | MultiTask | Parallel | RowGroups

PARTS = 4
"""Parts of a batch up to which attention of each is quicker than that of all rows with room for the longest prefix."""


def row_sizes(node: ByRows, layout: LayoutLike) -> tuple[int, ...] | None:
    """How many rows (questions, where there are choices) each child has; None: what the layout's groups say."""
    if isinstance(node, Parallel):
        shares = [copies(child) for child in node.children]
        batch = layout.rows // layout.choices // sum(shares)
        return tuple(share * batch for share in shares)
    return node.batch_sizes if isinstance(node, BatchSplit) else None


class OnRows(Composed):
    """Each unit on its own rows, the results joined. More runs than units: the batch lies there several times.

    Args:
        node: the block.
        units: the units.
        labels: which of them can act together; see `labels_of`.
    """

    def __init__(self, node: ByRows, units: Sequence[Unit | None], labels: tuple[int, ...]) -> None:
        self.node, self.units, self.labels = node, tuple(units), labels
        self.bundled = max(labels) >= 0

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """All rows."""
        # What acts at the LayerNorm after a block, and what makes rows longer, knows rows by their places in the batch.
        if self.bundled and not isinstance(ctx.norm, BlockNorm) and not isinstance(value, Tokens):
            by_row = isinstance(value, KV)
            device = value.k.device if by_row else (value if isinstance(value, Tensor) else value.value).device
            parts = arranged(ctx.layout, row_sizes(self.node, ctx.layout), self.labels, by_row, device)
            return parts.joined([self._part(part, value, ctx) for part in parts.parts], value, ctx.own)
        found = []
        for unit, cut in self._runs(ctx.layout):
            part = take(value, cut)
            found.append(part if unit is None else step(unit, part, ctx.cut(cut)))
        return join(found)

    def by_length(self, value: KV, ctx: Ctx) -> list[KVPart]:
        """Keys and values of rows that look at as many of them, so that none needs room for others' prefixes.

        All rows in one part where all look at as many, and where there would be more parts than PARTS.
        """
        parts = arranged(ctx.layout, row_sizes(self.node, ctx.layout), self.labels, True, value.k.device)
        found: list[KV | None] = [self._part(part, value, ctx) for part in parts.parts]
        lengths = {value.prefix if one is None else one.prefix for one in found}
        if len(lengths) == 1 or len(found) > PARTS:
            return [KVPart((), slice(None), parts.joined(found, value, ctx.own))]
        pairs = zip(parts.parts, found, strict=True)
        cuts = [(part.runs, part.cut, one) for part, one in pairs if not isinstance(part, Bundle)]  # which is by token
        return [KVPart(runs, cut.rows, take(value, cut) if one is None else one) for runs, cut, one in cuts]

    def _part(self, part: Bundle | RowBundle | Lone, value: Any, ctx: Ctx) -> Any:
        units: list[Any] = [self.units[run % len(self.units)] for run in part.runs]
        if isinstance(part, Lone) or len({unit.training for unit in units}) == 1:
            return part.acted(units, value, ctx)
        cuts = ctx.layout.cuts(row_sizes(self.node, ctx.layout))  # some in training, some not: dropout is not for all
        return join(
            [Lone((run,), cuts[run]).acted([unit], value, ctx) for run, unit in zip(part.runs, units, strict=True)]
        )

    def prepare(self, layout: LayoutLike, by_row: bool, device: torch.device) -> None:
        """Take a batch apart before the forward, which compiled code may not.

        Args:
            layout: how it lies.
            by_row: whether it is for what lies by row.
            device: where the batch is.
        """
        if self.bundled:
            arranged(layout, row_sizes(self.node, layout), self.labels, by_row, device)

    def _runs(self, layout: LayoutLike) -> list[tuple[Unit | None, Cut]]:
        """The units with their rows, those without any left out."""
        cuts = layout.cuts(row_sizes(self.node, layout))
        units = self.units * (len(cuts) // len(self.units))
        return [(unit, cut) for unit, cut in zip(units, cuts, strict=True) if cut.rows.start < cut.rows.stop]

    def everywhere(self) -> bool:
        """Whether all do so."""
        return all(unit is not None and acts_everywhere(unit) for unit in self.units)

    def where(self, value: Any, ctx: Ctx) -> Tensor:
        """Each row's own."""
        runs = self._runs(ctx.layout)
        return torch.cat([where_acts(unit, take(value, cut), ctx.cut(cut)) for unit, cut in runs])
