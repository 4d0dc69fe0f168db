"""An adapter is one module: its units by site, and what they share. To save it is to save its state dict."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo.core.blank import blank
from adapterzoo.core.registry import listing
from adapterzoo.core.run import Ctx, Told, Unit
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.nn.transformer import Transformer


class Adapter(nn.Module):
    """The units of one config on one network.

    Args:
        config: the method and its numbers.
        network: what it is for. It is looked at, not changed.
        initialise: whether to give it the values that new ones have; without, it lies on the meta device until
            it is given others.

    Raises:
        ValueError: the config covers no site of the network.
    """

    def __init__(self, config: AdapterConfig, network: Transformer, initialise: bool = True) -> None:
        super().__init__()
        self.config = config
        sites = [site for site in sites_of(network.config) if config.covers(site, network.config)]
        if not sites:
            there = listing({site.name for site in sites_of(network.config)})
            raise ValueError(f"{config!r} covers no site of this network, which has {there}")
        like = network.token.weight
        with nullcontext() if initialise else blank():
            shared = config.shared(sites, network.config)
            units = config.units(sites, shared, network.config, network.weight_of)
        self.shared = nn.ModuleDict(shared)
        self.units = nn.ModuleDict({site.slug: unit for site, unit in units.items()})
        makers = [(unit, config.at(site, network.config)) for site, unit in units.items()]
        for module, maker in [*makers, *((module, config.of_group(group)[0]) for group, module in shared.items())]:
            own = getattr(maker, "dtype", None)
            module.to(device=like.device if initialise else None, dtype=getattr(torch, own) if own else like.dtype)

    @property
    def form(self) -> str:
        """What is the same of adapters whose units can act at once, and seldom of others."""
        slug, unit = next(iter(self.units.items()))
        return f"{type(unit).__name__} {slug} {len(self.units)}"

    def start(self, embedded: Callable[[str], Tensor]) -> None:
        """Let units of a new adapter begin from texts, where their config says so.

        Args:
            embedded: gives the token embeddings (n, D) of a text's tokens.

        Raises:
            ValueError: a text is missing, or there is no tokenizer for it.
        """
        for unit in self.units.values():
            start = getattr(unit, "start", None)
            if start is not None:
                start(embedded)

    def unit(self, site: Site) -> Unit | None:
        """The unit at `site`; None where the adapter has none.

        At `unembed` it is the inverse of the one at the first stack's `embed`, where that has one.
        """
        if site.name == "unembed":
            found: Iterator[Any] = (unit for slug, unit in self.units.items() if slug.endswith("-embed"))
            return next((unit.inverse for unit in found if hasattr(unit, "inverse")), None)
        return self.units[site.slug] if site.slug in self.units else None

    def kind(self, site: Site) -> Hashable:
        """What the unit at a site agrees in with those that it can act together with; None: it acts alone."""
        return None

    def module_at(self, site: Site) -> nn.Module | None:
        """The module that was made for `site`, if there is one."""
        return self.units[site.slug] if site.slug in self.units else None

    def reads_rows(self, stack: str) -> bool:
        """Whether what it does to a token of a stack depends on the row's other tokens, so that each new one moves it.

        Such units say so by an attribute `reads_row`.
        """
        units = (unit for slug, unit in self.units.items() if slug.startswith(f"{stack}-"))
        return any(getattr(unit, "reads_row", False) for unit in units)


class Absent(Adapter):
    """What stands in a plan for an adapter that is merged into the network's weights: it has no unit anywhere."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.shared, self.units = nn.ModuleDict(), nn.ModuleDict()


class BesideMerged(Adapter):
    """What stands in a plan for an adapter while others are merged: its units see the weights as they were before.

    Args:
        adapter: the adapter.
        frozen: gives what a site's weight and bias were; None where nothing is merged.
    """

    def __init__(self, adapter: Adapter, frozen: Callable[[Site], tuple[Tensor, Tensor] | None]) -> None:
        nn.Module.__init__(self)
        self.config, self.shared, self.units = adapter.config, adapter.shared, adapter.units
        self.adapter, self.frozen = adapter, frozen

    def unit(self, site: Site) -> Unit | None:
        """The unit at `site`; None where the adapter has none."""
        unit, pair = self.adapter.unit(site), self.frozen(site)
        return unit if unit is None or pair is None else Told(unit, partial(_seeing, pair))


def _seeing(pair: tuple[Tensor, Tensor], ctx: Ctx) -> Ctx:
    return ctx._replace(weight=lambda: pair)
