"""What each kind of block becomes at a site: one callable, made of its children's.

It threads `value = unit(value, ctx)` and knows no method.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    Average,
    BatchSplit,
    Child,
    Fuse,
    MultiTask,
    Parallel,
    RowGroups,
    Split,
    Stack,
)
from adapterzoo.core.run import Unit
from adapterzoo.core.sites import Site
from adapterzoo.plan.average import compile_average
from adapterzoo.plan.bundles import labels_of
from adapterzoo.plan.composed import Chain, OnSpans, Parts
from adapterzoo.plan.fused import compile_fuse
from adapterzoo.plan.rows import ByRows, OnRows


def compile_stack(node: Stack, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """What inverts comes in reverse order."""
    there = [unit for unit in units if unit is not None]
    if len(there) == 1:
        return there[0]
    return Chain(there[::-1] if site.name == "unembed" else there)


def compile_rows(node: ByRows, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """Rows lie at every site in the same order."""
    return OnRows(node, units, labels_of([_kind(child, site, parts) for child in node.children], units))


def _kind(child: Child, site: Site, parts: Parts) -> Hashable:
    """What a lone adapter's unit agrees in with others that it can act together with."""
    only = child if isinstance(child, str) or len(child) != 1 or type(child) is not Stack else child[0]
    return parts.adapters[only].kind(site) if isinstance(only, str) and not parts.noted else None


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
