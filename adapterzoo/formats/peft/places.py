"""HF's names of the modules at which PEFT's methods act, and the sites here that these are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from adapterzoo.archs.base import Architecture
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.registry import listing
from adapterzoo.core.sites import OUTSIDE, Site, sites_of

MODULES = ("linear", "norm", "lookup")
"""The kinds of sites where HF has a module."""


class Places:
    """The modules of one network that are sites here.

    Args:
        architecture: whose names to use.
        network: its numbers.

    Attributes:
        every: all sites of the network.
        names: HF's name of each site's module, without the prefix that classes with heads have.
    """

    def __init__(self, architecture: Architecture, network: NetworkConfig) -> None:
        self.architecture, self.network, self.every = architecture, network, sites_of(network)
        self.names = {
            site: architecture.hub_module(site)
            for site in self.every
            if site.kind in MODULES and not self._is_part(site)
        }

    def _is_part(self, site: Site) -> bool:
        """Whether HF has one module for it and others, whose rows take turns (DeBERTa's `in_proj`)."""
        block = site.name.partition(".")[0]
        fused = f"{site.stack}.{site.depth}.{block}.qkv.weight"
        return site.kind == "linear" and block != "mlp" and self.architecture.keymap.turns(fused) > 1

    @cached_property
    def others(self) -> frozenset[str]:
        """Names of further modules of HF's classes, heads included; of cross-attention only where there is some."""
        crossed = any(stack.cross for stack in self.network.stacks().values())
        tables = (self.architecture.rows, *(static.rows for static in self.architecture.statics))
        rows = [row for table in tables for row in table if crossed or "{i}.cross" not in row.ours]
        parts = (part.replace("{i}", "0").rpartition(".")[0] for row in rows for part in row.parts)
        return frozenset(parts) - set(self.names.values()) - {""}

    def at(self, kinds: Iterable[str]) -> dict[Site, str]:
        """The sites of some kinds, and their modules' names."""
        wanted = set(kinds)
        return {site: name for site, name in self.names.items() if site.kind in wanted}

    def named(self, sites: Iterable[Site]) -> list[str]:
        """The shortest endings of names that mean these sites' modules and no others.

        Raises:
            ValueError: HF has no module for one of them.
        """
        chosen = list(sites)
        self.check(chosen)
        meant = {self.names[site] for site in chosen}
        known = {*self.names.values(), *self.others}
        return sorted({_ending(name, meant, known) for name in meant})

    def check(self, sites: Iterable[Site]) -> None:
        """Check that HF has a module for each of some sites.

        Raises:
            ValueError: it has not.
        """
        lost = [site.path for site in sites if site not in self.names]
        if lost:
            raise ValueError(f"{self.architecture.name} has no module of its own at {listing(lost)}")


def _ending(name: str, meant: set[str], known: set[str]) -> str:
    parts = name.split(".")
    endings = (".".join(parts[-count:]) for count in range(1, len(parts)))
    return next((end for end in endings if all(one in meant for one in known if one.endswith(end))), name)


def patterns(sites: Iterable[Site], network: NetworkConfig) -> tuple[str, ...]:
    """Patterns, as configs have them in `sites`, that mean these sites and no others."""
    chosen, every = list(sites), sites_of(network)
    found: dict[str, None] = {}
    for site in chosen:
        same = [one for one in every if one.name == site.name]
        near = [one for one in same if one.stack == site.stack]
        if all(one in chosen for one in same):
            found[site.name] = None
        elif site.depth != OUTSIDE and all(one in chosen for one in near):
            found[f"{site.stack}.*.{site.name}"] = None
        else:
            found[site.path] = None
    return tuple(found)
