"""A setup compiled to a plan: for each site one callable or nothing, found once and not in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from adapterzoo.adapter import Adapter
from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    BatchSplit,
    Child,
    MultiTask,
    Parallel,
    RowGroups,
    Split,
    check_composition,
    copies,
    names_in,
)
from adapterzoo.core.registry import unknown
from adapterzoo.core.run import Ctx, LayoutLike, Note, Run, Unit
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.nn.transformer import Transformer
from adapterzoo.plan.compilers import COMPILERS, Parts, row_sizes


class Plan:
    """A setup, compiled for every site of a network. Immutable, so threads may share it.

    Args:
        setup: the composition; None for the bare network.
        adapters: the adapters by name.
        network: what they act on.
        skip_layers: layers in which nothing acts.
        fusions: what `Fuse` weighs adapters by, by name.
        noted: whether units tell gates' and fusions' scores.

    Attributes:
        copies: how many times each row of the batch is answered; the batch must be repeated as often.

    Raises:
        ValueError: an adapter of the setup does not exist, or the setup has no meaning; the message says why.
    """

    def __init__(
        self,
        setup: AdapterCompositionBlock | None,
        adapters: Mapping[str, Adapter],
        network: Transformer,
        skip_layers: frozenset[int] = frozenset(),
        fusions: Mapping[str, Any] | None = None,
        noted: bool = False,
    ) -> None:
        self.setup, self.noted = setup, noted
        self.tables: dict[tuple[str, int], dict[str, Unit]] = {}
        self.once: tuple[nn.Module, ...] = ()
        self.copies = 1
        if setup is None:
            return
        for name in names_in(setup):
            if name not in adapters:
                raise ValueError(unknown("adapter named", name, adapters))
        check_composition(setup)
        self.copies = copies(setup)
        parts = Parts(adapters, fusions or {}, noted)
        for site in sites_of(network.config):
            unit = None if site.layer in skip_layers else compile_at(setup, site, parts)
            if unit is not None:
                self.tables.setdefault((site.stack, site.depth), {})[site.name] = unit
        used = dict.fromkeys(names_in(setup))
        shared = (module for name in used for module in adapters[name].shared.values())
        self.once = tuple(module for module in shared if hasattr(module, "once"))

    def cut(self, layout: LayoutLike) -> None:
        """Cut a batch as the setup will. This is no part of the forward, for it reads rows' lengths from tensors."""
        if self.setup is not None:
            cut_for(self.setup, layout)

    def start(self) -> Run:
        """A run of this plan, for one forward."""
        notes: list[Note] | None = [] if self.noted else None
        return Run(self.tables, {module: module.once() for module in self.once}, notes)  # type: ignore[operator]


class Named:
    """A unit that knows whose it is, for telling scores."""

    def __init__(self, unit: Unit, name: str, site: Site) -> None:
        self.unit, self.who = unit, (name, site)

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The unit's value."""
        return self.unit(value, ctx._replace(who=self.who))

    def __getattr__(self, ability: str) -> Any:
        found = getattr(self.unit, ability)
        if ability != "branch":
            return found
        return lambda value, ctx: found(value, ctx._replace(who=self.who))


def compile_at(node: Child, site: Site, parts: Parts) -> Unit | None:
    """A composition at one site: one callable, or None where nothing acts.

    Raises:
        ValueError: it has no meaning there.
    """
    if isinstance(node, str):
        unit = parts.adapters[node].unit(site)
        return Named(unit, node, site) if parts.noted and unit is not None else unit
    if type(node) not in COMPILERS:
        raise ValueError(f"{node!r} cannot run here; there are {', '.join(kind.__name__ for kind in COMPILERS)}")
    units = [compile_at(child, site, parts) for child in node.children]
    if all(unit is None for unit in units):
        return None
    return COMPILERS[type(node)](node, units, site, parts)


def cut_for(node: Child, layout: LayoutLike) -> None:
    """Make all cuts of a batch that a composition needs."""
    if isinstance(node, str):
        return
    parts = [layout] * len(node)
    if isinstance(node, (BatchSplit, MultiTask, Parallel, RowGroups)):
        parts = [cut.layout for cut in layout.cuts(row_sizes(node, layout))]
    elif isinstance(node, Split):
        parts = [cut.layout for cut in layout.spans(node.splits).cuts]
    for child, part in zip(node.children, parts, strict=True):
        if part.rows and part.length:
            cut_for(child, part)
