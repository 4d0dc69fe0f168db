"""A composition at one site, compiled: its units threaded by its blocks."""

from __future__ import annotations

from functools import partial

from adapterzoo.core.compose import Child, Stack
from adapterzoo.core.run import Ctx, Told, Unit
from adapterzoo.core.sites import Site
from adapterzoo.plan.compilers import COMPILERS
from adapterzoo.plan.composed import Parts


def compile_at(node: Child, site: Site, parts: Parts) -> Unit | None:
    """A composition at one site: one callable, or None where nothing acts.

    Raises:
        ValueError: it has no meaning there.
    """
    if isinstance(node, str):
        unit = parts.adapters[node].unit(site)
        return Told(unit, partial(_named, (node, site))) if parts.noted and unit is not None else unit
    if type(node) not in COMPILERS:
        raise ValueError(f"{node!r} cannot run here; there are {', '.join(kind.__name__ for kind in COMPILERS)}")
    if len(node) == 1 and type(node) is Stack:
        return compile_at(node[0], site, parts)
    units = [compile_at(child, site, parts) for child in node.children]
    if units.count(None) == len(units):
        return None
    return COMPILERS[type(node)](node, units, site, parts)


def _named(who: tuple[str, Site], ctx: Ctx) -> Ctx:
    return ctx._replace(who=who)
