"""Compositions compiled to plans: for each site one callable or nothing, found once and not in every layer.

The algebra of compositions is here and nowhere else. It threads `value = unit(value, ctx)` and knows no method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.adapter import Adapter
from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    BatchSplit,
    Child,
    Parallel,
    RowGroups,
    Stack,
    copies,
    names_in,
)
from adapterzoo.core.registry import unknown
from adapterzoo.core.sites import KV, Ctx, Cut, Final, LayoutLike, Run, Site, Unit, sites_of
from adapterzoo.nn.transformer import Transformer

Find = Callable[[Child], "Unit | None"]
Compiler = Callable[[Any, list["Unit | None"]], Unit]


class Plan:
    """A setup, compiled for every site of a network. Immutable, so threads may share it.

    Args:
        setup: the composition; None for the bare network.
        adapters: the adapters by name.
        network: what they act on.
        skip_layers: layers in which nothing acts.

    Attributes:
        copies: how many times each row of the batch is answered; the batch must be repeated as often.

    Raises:
        ValueError: an adapter of the setup does not exist, or the block is none that runs.
    """

    def __init__(
        self,
        setup: AdapterCompositionBlock | None,
        adapters: Mapping[str, Adapter],
        network: Transformer,
        skip_layers: frozenset[int] = frozenset(),
    ) -> None:
        self.setup = setup
        self.copies = 1 if setup is None else copies(setup)
        self.tables: dict[tuple[str, int], dict[str, Unit]] = {}
        if setup is None:
            self.once: tuple[nn.Module, ...] = ()
            return
        for name in names_in(setup):
            if name not in adapters:
                raise ValueError(unknown("adapter named", name, adapters))
        for site in sites_of(network.config):
            unit = None if site.layer in skip_layers else compile_at(setup, site, adapters)
            if unit is not None:
                self.tables.setdefault((site.stack, site.depth), {})[site.name] = unit
        used = dict.fromkeys(names_in(setup))
        self.once = tuple(module for name in used for module in adapters[name].shared.values())

    def cut(self, layout: LayoutLike) -> None:
        """Cut a batch as the setup will. This is no part of the forward, for it reads rows' lengths from tensors."""
        if self.setup is not None:
            cut_for(self.setup, layout)

    def start(self) -> Run:
        """A run of this plan, for one forward."""
        return Run(self.tables, {module: module() for module in self.once})


def compile_at(node: Child, site: Site, adapters: Mapping[str, Adapter]) -> Unit | None:
    """A composition at one site: one callable, or None where nothing acts."""
    if isinstance(node, str):
        return adapters[node].unit(site)
    if type(node) not in COMPILERS:
        raise ValueError(f"{node!r} cannot run here; there are {', '.join(kind.__name__ for kind in COMPILERS)}")
    units = [compile_at(child, site, adapters) for child in node.children]
    if all(unit is None for unit in units):
        return None
    return COMPILERS[type(node)](node, units)


def _stack(node: Stack, units: list[Unit | None]) -> Unit:
    there = [unit for unit in units if unit is not None]
    if len(there) == 1:
        return there[0]

    def run(value: Any, ctx: Ctx) -> Any:
        for unit in there:
            value = step(unit, value, ctx)
        return value

    return run


def _split(node: BatchSplit | RowGroups | Parallel, units: list[Unit | None]) -> Unit:
    def run(value: Any, ctx: Ctx) -> Any:
        return by_rows(units, ctx.layout.cuts(_sizes(node, ctx.layout)), value, ctx)

    return run


def _sizes(node: BatchSplit | RowGroups | Parallel, layout: LayoutLike) -> tuple[int, ...] | None:
    """How many rows (questions, where there are choices) each child has; None: what the layout's groups say."""
    if isinstance(node, Parallel):
        shares = [copies(child) for child in node.children]
        batch = layout.rows // layout.choices // sum(shares)
        return tuple(share * batch for share in shares)
    return node.batch_sizes if isinstance(node, BatchSplit) else None


COMPILERS: dict[type[AdapterCompositionBlock], Compiler] = {
    Stack: _stack,
    BatchSplit: _split,
    Parallel: _split,
    RowGroups: _split,
}


def cut_for(node: Child, layout: LayoutLike) -> None:
    """Make all cuts of a batch that a composition needs."""
    if isinstance(node, str):
        return
    parts = [layout] * len(node)
    if isinstance(node, (BatchSplit, Parallel, RowGroups)):
        parts = [cut.layout for cut in layout.cuts(_sizes(node, layout))]
    for child, part in zip(node.children, parts, strict=True):
        if part.rows:
            cut_for(child, part)


def step(unit: Unit, value: Any, ctx: Ctx) -> Any:
    """One unit's turn. A method's (a module) sees what is in a Final; a composition's may leave some rows Final."""
    return unit(value.value if isinstance(value, Final) and isinstance(unit, nn.Module) else value, ctx)


def by_rows(units: list[Unit | None], cuts: list[Cut], value: Any, ctx: Ctx) -> Any:
    """Each unit on its own rows, the results joined."""
    parts = []
    for unit, cut in zip(units, cuts, strict=True):
        if cut.rows.start < cut.rows.stop:
            part = take(value, cut)
            parts.append(part if unit is None else step(unit, part, ctx.cut(cut)))
    return join(parts)


def take(value: Any, cut: Cut) -> Any:
    """Some rows of a value: keys and values lie by row, everything else by token."""
    if isinstance(value, KV):
        valid = None if value.valid is None else value.valid[cut.rows]
        return KV(value.k[cut.rows], value.v[cut.rows], value.prefix, valid)
    if isinstance(value, Final):
        return Final(value.value[cut.tokens], None if value.where is None else value.where[cut.tokens])
    return value[cut.tokens]


def join(values: list[Any]) -> Any:
    """Values of consecutive rows as one."""
    if not values:
        raise ValueError("the batch has no rows")
    if isinstance(values[0], KV):
        return _join_kv(values)
    if any(isinstance(value, Final) for value in values):
        return _join_final(values)
    return torch.cat(values)


def _join_final(values: list[Tensor | Final]) -> Final:
    plain = [value.value if isinstance(value, Final) else value for value in values]
    if all(isinstance(value, Final) and value.where is None for value in values):
        return Final(torch.cat(plain))
    return Final(torch.cat(plain), torch.cat([_where(value) for value in values]))


def _where(value: Tensor | Final) -> Tensor:
    if isinstance(value, Final):
        return torch.ones_like(value.value[..., :1], dtype=torch.bool) if value.where is None else value.where
    return torch.zeros_like(value[..., :1], dtype=torch.bool)


def _join_kv(values: list[KV]) -> KV:
    prefix = max(value.prefix for value in values)
    if all(value.prefix == prefix and value.valid is None for value in values):
        return KV(torch.cat([v.k for v in values]), torch.cat([v.v for v in values]), prefix)
    widened = [_widen(value, prefix) for value in values]
    k, v, valid = (torch.cat(tensors) for tensors in zip(*widened, strict=True))
    return KV(k, v, prefix, valid)


def _widen(value: KV, prefix: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values with room for a prefix of `prefix` positions, and which of these are real."""
    gap, valid = prefix - value.prefix, value.valid
    if valid is None:
        valid = torch.ones(value.k.size(0), value.prefix, dtype=torch.bool, device=value.k.device)
    return F.pad(value.k, (0, 0, gap, 0)), F.pad(value.v, (0, 0, gap, 0)), F.pad(valid, (gap, 0), value=False)
