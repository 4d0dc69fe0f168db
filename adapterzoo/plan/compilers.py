"""What each kind of block becomes at a site: one callable, made of its children's.

It threads `value = unit(value, ctx)` and knows no method.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    Average,
    BatchSplit,
    Fuse,
    MultiTask,
    Parallel,
    RowGroups,
    Split,
    Stack,
    copies,
)
from adapterzoo.core.run import LayoutLike, Unit
from adapterzoo.core.sites import Site
from adapterzoo.plan.average import compile_average
from adapterzoo.plan.composed import Chain, OnRows, OnSpans, Parts
from adapterzoo.plan.fused import compile_fuse

ByRows = BatchSplit | MultiTask | Parallel | RowGroups


def compile_stack(node: Stack, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """What inverts comes in reverse order."""
    there = [unit for unit in units if unit is not None]
    if len(there) == 1:
        return there[0]
    return Chain(there[::-1] if site.name == "unembed" else there)


def compile_rows(node: ByRows, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """Rows lie at every site in the same order."""
    return OnRows(partial(row_sizes, node), units)


def row_sizes(node: ByRows, layout: LayoutLike) -> tuple[int, ...] | None:
    """How many rows (questions, where there are choices) each child has; None: what the layout's groups say."""
    if isinstance(node, Parallel):
        shares = [copies(child) for child in node.children]
        batch = layout.rows // layout.choices // sum(shares)
        return tuple(share * batch for share in shares)
    return node.batch_sizes if isinstance(node, BatchSplit) else None


def compile_split(node: Split, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """Prompts are for whole rows, and distances between tokens for pairs of them.

    Raises:
        ValueError: a child adds a prompt, or acts on distances.
    """
    if site.kind == "tokens":
        raise ValueError(f"{node!r}: a prompt is seen by all of a row, so it cannot be for some positions alone")
    relative = parts.network.stacks()[site.stack].relative
    if relative is not None and relative.shared and site.name in ("attn.q", "attn.k"):
        raise ValueError(
            f"{node!r}: what acts at {site.path} acts on distances between tokens, too, and these may lie in two spans"
        )
    return OnSpans(node.splits, units)


COMPILERS: dict[type[AdapterCompositionBlock], Callable[[Any, list[Unit | None], Site, Parts], Unit | None]] = {
    Stack: compile_stack,
    Average: compile_average,
    Fuse: compile_fuse,
    Split: compile_split,
    BatchSplit: compile_rows,
    MultiTask: compile_rows,
    Parallel: compile_rows,
    RowGroups: compile_rows,
}
