"""An adapter is one module: its units by site, and what they share. To save it is to save its state dict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from adapterzoo.core.registry import listing
from adapterzoo.core.run import Unit
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.nn.transformer import Transformer


class Adapter(nn.Module):
    """The units of one config on one network.

    Args:
        config: the method and its numbers.
        network: what it is for. It is looked at, not changed.

    Raises:
        ValueError: the config covers no site of the network.
    """

    def __init__(self, config: AdapterConfig, network: Transformer) -> None:
        super().__init__()
        self.config = config
        sites = [site for site in sites_of(network.config) if config.covers(site, network.config)]
        if not sites:
            there = listing({site.name for site in sites_of(network.config)})
            raise ValueError(f"{config!r} covers no site of this network, which has {there}")
        like = network.token.weight
        shared = config.shared(sites, network.config)
        units = {site.slug: config.unit(site, shared, network.weight_of) for site in sites}
        self.shared, self.units = nn.ModuleDict(shared), nn.ModuleDict(units)
        own_dtype = getattr(config, "dtype", None)
        self.to(device=like.device, dtype=getattr(torch, own_dtype) if own_dtype else like.dtype)

    def unit(self, site: Site) -> Unit | None:
        """The unit at `site`; None where the adapter has none.

        At `unembed` it is the inverse of the one at the first stack's `embed`, where that has one.
        """
        if site.name == "unembed":
            found: Iterator[Any] = (unit for slug, unit in self.units.items() if slug.endswith("-embed"))
            return next((unit.inverse for unit in found if hasattr(unit, "inverse")), None)
        return self.units[site.slug] if site.slug in self.units else None

    def module_at(self, site: Site) -> nn.Module | None:
        """The module that was made for `site`, if there is one."""
        return self.units[site.slug] if site.slug in self.units else None

    def reads_rows(self, stack: str) -> bool:
        """Whether what it does to a token of a stack depends on the row's other tokens, so that each new one moves it.

        Such units say so by an attribute `reads_row`.
        """
        units = (unit for slug, unit in self.units.items() if slug.startswith(f"{stack}-"))
        return any(getattr(unit, "reads_row", False) for unit in units)
