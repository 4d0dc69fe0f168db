"""A setup compiled to a plan: for each site one callable or nothing, found once and not in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
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
    blocks_in,
    check_composition,
    copies,
    fusions_in,
    names_in,
    tasks_of,
)
from adapterzoo.core.registry import listing, unknown
from adapterzoo.core.run import LayoutLike, Note, Run, Unit
from adapterzoo.core.sites import OUTSIDE, Site, sites_of
from adapterzoo.nn.transformer import Transformer
from adapterzoo.plan.compile import compile_at
from adapterzoo.plan.composed import Parts
from adapterzoo.plan.rows import OnRows, row_sizes


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
        copies: how many times each row of the batch is answered; the batch is repeated as often.
        bottoms: by stack the first layer in which something acts: OUTSIDE if something does outside of layers, their
            number if nothing does at all.
        tasks: what each task is called that a row may have; () where rows have none.
        readers: by stack the adapters that look at whole rows, so that a new token changes those before it.

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
        self.setup, self.noted, self.device = setup, noted, network.token.weight.device
        self._bundles: dict[tuple[str, bool, bool, tuple[int, ...], int], OnRows] = {}
        self.tables: dict[tuple[str, int], dict[str, Unit]] = {}
        self.once: tuple[nn.Module, ...] = ()
        self.copies, self.tasks = 1, () if setup is None else tasks_of(setup)
        self.bottoms = {stack: numbers.layers for stack, numbers in network.config.stacks().items()}
        self.readers: dict[str, list[str]] = {}
        if setup is None:
            return
        parts = Parts(adapters, fusions or {}, network.config, noted)
        _check_names(setup, parts)
        check_composition(setup)
        self.copies = copies(setup)
        touched = {slug for name in set(names_in(setup)) for slug in adapters[name].units}
        for site in sites_of(network.config):
            if site.layer in skip_layers or not (site.name == "unembed" or site.slug in touched):
                continue
            unit = compile_at(setup, site, parts)
            if unit is not None:
                self.tables.setdefault((site.stack, site.depth), {})[site.name] = unit
                self._note_bundles(site, unit)
        self._check_spans(setup)
        for stack in self.bottoms:
            self.readers[stack] = [name for name in dict.fromkeys(names_in(setup)) if adapters[name].reads_rows(stack)]
        for stack, depth in self.tables:
            self.bottoms[stack] = min(depth, self.bottoms[stack])
        used = [*(adapters[name] for name in names_in(setup)), *(parts.fusions[name] for name in fusions_in(setup))]
        shared = (module for one in used for module in one.shared.values())
        self.once = tuple(dict.fromkeys(module for module in shared if hasattr(module, "once")))

    def _check_spans(self, setup: AdapterCompositionBlock) -> None:
        """Check that rows are no longer than a Split says."""
        split = next((block for block in blocks_in(setup) if isinstance(block, Split)), None)
        if split is not None and any("input" in units for (_, depth), units in self.tables.items() if depth == OUTSIDE):
            raise ValueError(f"{setup!r} adds a prompt to rows whose positions {split!r} counts")

    def _note_bundles(self, site: Site, unit: Unit) -> None:
        """Remember what takes batches apart: one of those that do so in the same way."""
        if isinstance(unit, OnRows) and site.kind != "tokens":
            remembered = site.name in ("cross.k", "cross.v")
            self._bundles.setdefault((site.stack, remembered, site.kind == "kv", unit.labels, id(unit.node)), unit)

    def acts_at(self, name: str) -> bool:
        """Whether anything acts at the sites of that name."""
        return any(name in units for units in self.tables.values())

    def check_cache(self, stack: str) -> None:
        """Check that keys and values of earlier tokens stay as they are when others follow.

        Args:
            stack: the stack that keeps them.

        Raises:
            ValueError: they do not.
        """
        if self.readers.get(stack):
            raise ValueError(
                f"keys and values cannot be kept: {listing(self.readers[stack])} look at whole rows, so that each new "
                "token changes those before it; call the model with use_cache=False"
            )

    def cut(self, stack: str, layout: LayoutLike, memory: LayoutLike | None = None) -> None:
        """Cut a batch as the setup will. This is no part of the forward, for it reads rows' lengths from tensors.

        Args:
            stack: the stack that runs.
            layout: how its tokens lie.
            memory: how those lie that its cross-attention looks at.

        Raises:
            ValueError: rows or positions are not as many as the setup says.
        """
        if self.setup is None:
            return
        sites = {name for (of, _), units in self.tables.items() if of == stack for name in units}
        if sites:
            cut_for(self.setup, layout)
        if memory is not None and not sites.isdisjoint(("cross.k", "cross.v")):
            cut_for(self.setup, memory)
        for (of, remembered, by_row, *_), unit in self._bundles.items():
            seen = memory if remembered else layout
            if of == stack and seen is not None:
                unit.prepare(seen, by_row, self.device)

    def start(self) -> Run:
        """A run of this plan, for one forward."""
        notes: list[Note] | None = [] if self.noted else None
        return Run(self.tables, {module: module.once() for module in self.once}, notes)  # type: ignore[operator]


def _check_names(setup: AdapterCompositionBlock, parts: Parts) -> None:
    """Check that all adapters and fusions of a setup exist."""
    for name in names_in(setup):
        if name not in parts.adapters:
            raise ValueError(unknown("adapter named", name, parts.adapters))
    for name in fusions_in(setup):
        if name not in parts.fusions:
            raise ValueError(f"{unknown('adapter fusion named', name, parts.fusions)}; add_adapter_fusion makes one")


def cut_for(node: Child, layout: LayoutLike) -> None:
    """Make all cuts of a batch that a composition needs."""
    if isinstance(node, str) or not node.children:
        return
    parts = [layout] * len(node)
    if isinstance(node, (BatchSplit, MultiTask, Parallel, RowGroups)):
        parts = [cut.layout for cut in layout.cuts(row_sizes(node, layout))]
    elif isinstance(node, Split):
        parts = [cut.layout for cut in layout.spans(node.splits).cuts]
    for child, part in zip(cycle(node.children), parts, strict=False):
        if part.rows and part.length:
            cut_for(child, part)
