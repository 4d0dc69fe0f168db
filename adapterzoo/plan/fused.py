"""`Fuse` at a site: what its children add there, weighed by an AdapterFusion."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.compose import Fuse
from adapterzoo.core.run import Branch, Ctx, Final, Unit
from adapterzoo.core.sites import Site
from adapterzoo.fusion.fusion import WHOLE, Fusion, FusionUnit
from adapterzoo.plan.composed import Chain, Composed, Parts, acts_everywhere, step, where_acts
from adapterzoo.plan.values import final_where, finished


def branch_of(unit: Unit, value: Any, ctx: Ctx) -> Branch:
    """What a unit gives to be fused: what it offers, or else the change of the value.

    Of a Stack whose last unit offers something, that is what counts; those before it act on what the last one reads.
    """
    if isinstance(unit, Chain) and hasattr(unit.units[-1], "branch"):
        return _last_of(unit, value, ctx)
    bare = value.value if isinstance(value, Final) else value
    if hasattr(unit, "branch"):
        found: Branch = unit.branch(bare, ctx)
        return found
    out = step(unit, value, ctx)
    if not isinstance(out, Final):
        return Branch(lambda: out - bare, bare, bare, bare, _as_it_is)
    whole, before, final = finished(out, ctx), finished(value, ctx), out.where
    if final is None:
        return Branch(lambda: whole - before, before, before, before, Final)
    start = torch.where(final, before, bare)
    change = torch.where(final, whole, out.value) - start
    return Branch(lambda: change, start, start, start, partial(Final, where=final))


def _last_of(chain: Chain, value: Any, ctx: Ctx) -> Branch:
    *first, last = chain.units
    inner = value
    for unit in first:
        assert unit is not None
        inner = step(unit, inner, ctx)
    assert last is not None
    return branch_of(last, value, ctx)._replace(update=branch_of(last, inner, ctx).update)


def _as_it_is(value: Tensor) -> Tensor:
    return value


class Fused(Composed):
    """What all add, weighed, on top of the last one's residual. A token's last one is the last that acts on it.

    Args:
        unit: what weighs.
        units: the children's.
        who: the fusion's name and the place, where scores are to be told.
    """

    def __init__(self, unit: FusionUnit, units: Sequence[Unit], who: tuple[str, Site] | None) -> None:
        self.unit, self.units, self.who = unit, tuple(units), who
        self.steady = all(map(acts_everywhere, units))

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The fused value."""
        ctx = ctx._replace(own=False)  # several read it
        branches = [branch_of(unit, value, ctx) for unit in self.units if unit is not None]
        updates = [branch.update() for branch in branches]
        acting = [] if self.steady else [where_acts(unit, value, ctx) for unit in self.units]
        query = _last([self._query(branch) for branch in branches], acting)
        residual = _last([branch.residual for branch in branches], acting)
        weighed = torch.cat(acting, -1) if acting else None
        fused = self.unit(query, updates, residual, ctx._replace(who=self.who), weighed)
        if self.steady:
            return branches[-1].finish(fused)
        for branch, mark in zip(branches, acting, strict=True):
            value = _where(mark, branch.finish(fused), value)
        return value

    def _query(self, branch: Branch) -> Tensor:
        return branch.before if self.unit.config.query_before_ln else branch.after


def _last(tensors: list[Tensor], acting: list[Tensor]) -> Tensor:
    """The last tensor; of each token the last that acts on it, where `acting` says which do."""
    if not acting:
        return tensors[-1]
    found = tensors[0]
    for tensor, mark in zip(tensors[1:], acting[1:], strict=True):
        found = torch.where(mark, tensor, found)
    return found


def _where(acting: Tensor, new: Tensor | Final, old: Tensor | Final) -> Tensor | Final:
    """The new value where something acts, the old one elsewhere."""
    first, second = (one.value if isinstance(one, Final) else one for one in (new, old))
    whole = torch.where(acting, first, second)
    if not isinstance(new, Final) and not isinstance(old, Final):
        return whole
    return Final(whole, torch.where(acting, final_where(new), final_where(old)))


def compile_fuse(node: Fuse, units: list[Unit | None], site: Site, parts: Parts) -> Unit:
    """The fusion of the units that there are, a lone one, too.

    Raises:
        ValueError: there is nothing to weigh here, or there is no fusion that was made for the place.
    """
    acting = ", ".join(str(child) for child, unit in zip(node.children, units, strict=True) if unit is not None)
    if site.kind in WHOLE:
        raise ValueError(
            f"{node!r}: {acting} adds positions at {site.path}, where there is no output at each token to weigh"
        )
    if site.name == "unembed":
        raise ValueError(f"{node!r} fuses invertible adapters, but no function inverts what it makes of them")
    fusion: Fusion = parts.fusions[node.name]
    unit = fusion.unit(site)
    if unit is None:
        made = ", ".join(fusion.names)
        raise ValueError(
            f"{node!r}: {acting} acts at {site.path}, where the adapter fusion {node.name!r}, made for {made}, has no "
            "weights; add_adapter_fusion with overwrite_ok=True makes one that has"
        )
    there = [unit for unit in units if unit is not None]
    return Fused(unit, there, (node.name, site) if parts.noted else None)
