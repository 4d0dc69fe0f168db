"""`Average` at a site: Σ wᵢ·oᵢ over the children that act there, on each row and token by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.compose import Average, Child, Split, Stack
from adapterzoo.core.run import KV, Ctx, Final, Tokens, Unit
from adapterzoo.core.sites import Site
from adapterzoo.plan.composed import Composed, Parts, acts_everywhere, step, where_acts
from adapterzoo.plan.values import final_where, finished, lengthened, real, widened

Added = tuple[Any, ...]
"""What a node adds to a row: prefixes or prompts, one after the other; () for nothing."""


class Mean(Composed):
    """Σ wᵢ·oᵢ, where a unit that does not act leaves its weight to those that do.

    Of keys and values, and of what goes into a stack, this is the mean of the positions that the units added.

    Args:
        weights: a weight for each unit.
        whole: what the weights of all children add up to.
        units: the units.
    """

    def __init__(self, weights: Sequence[float], whole: float, units: Sequence[Unit]) -> None:
        self.given, self.whole, self.units = tuple(weights), whole, tuple(units)
        share = sum(weights)
        self.weights = self.given if share == whole or not whole else tuple(w * whole / share for w in weights)
        self.steady = all(map(acts_everywhere, units))

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The weighted sum of the units' values."""
        ctx = ctx._replace(own=False)  # several read it
        outs = [step(unit, value, ctx) for unit in self.units if unit is not None]
        acting = None if self.steady else [where_acts(unit, value, ctx) for unit in self.units]
        if isinstance(value, KV):
            return self._prefixes(value, outs, acting)
        if isinstance(value, Tokens):
            return self._prompts(outs, acting)
        before = value.value if isinstance(value, Final) else value
        if not any(isinstance(out, Final) for out in outs):
            return self._sum(outs, acting, before)
        return self._finals(outs, acting, value, ctx)

    def _sum(self, tensors: Sequence[Tensor], acting: list[Tensor] | None, before: Tensor) -> Tensor:
        """Σ wᵢ·tᵢ, or `before` where nothing acts."""
        if acting is None:
            total = tensors[0] * self.weights[0]
            for weight, tensor in zip(self.weights[1:], tensors[1:], strict=True):
                total = total + tensor * weight
            return total
        marks = [mark.view(*mark.shape, *[1] * (tensors[0].dim() - mark.dim())).to(before.dtype) for mark in acting]
        shares = [mark * weight for mark, weight in zip(marks, self.given, strict=True)]
        share = torch.stack(shares).sum(0)
        factor = self.whole / share.where(share != 0, self.whole) if self.whole else 1.0
        terms = [tensor * (part * factor) for tensor, part in zip(tensors, shares, strict=True)]
        return torch.where(torch.stack(marks).any(0), torch.stack(terms).sum(0), before)

    def _finals(
        self, outs: list[Tensor | Final], acting: list[Tensor] | None, value: Tensor | Final, ctx: Ctx
    ) -> Tensor | Final:
        """The mean of the block's outputs where one of these is final, and of what goes into the addition elsewhere.

        What a unit that does not act lets pass counts nowhere; where none acts, all is as it was.
        """
        before = value.value if isinstance(value, Final) else value
        wholes = self._sum([finished(out, ctx) for out in outs], acting, before)
        if acting is None and any(isinstance(out, Final) and out.where is None for out in outs):
            return Final(wholes)
        finals = [final_where(out) for out in outs]
        if acting is not None:
            idle = ~torch.stack(acting).any(0)
            finals = [final & mark for final, mark in zip(finals, acting, strict=True)] + [final_where(value) & idle]
        where = torch.stack(finals).any(0)
        plain = self._sum([out.value if isinstance(out, Final) else out for out in outs], acting, before)
        return Final(torch.where(where, wholes, plain), where)

    def _prefixes(self, value: KV, outs: list[KV], acting: list[Tensor] | None) -> KV:
        new = max(out.prefix for out in outs) - value.prefix
        queries = max(1 if out.valid is None else out.valid.size(1) for out in outs)
        wide = [widened(out, value.prefix + new, queries) for out in outs]
        marks = None if acting is None else [mark[..., None, None] for mark in acting]
        keys, values = (
            self._sum([pair[which][:, :, :new] for pair in wide], marks, torch.zeros_like(wide[0][which][:, :, :new]))
            for which in (0, 1)
        )
        k, v = torch.cat([keys, value.k], 2), torch.cat([values, value.v], 2)
        if all(out.valid is None and out.prefix == value.prefix + new for out in outs):
            return KV(k, v, value.prefix + new)
        seen = torch.stack([valid[..., :new] for _, _, valid in wide]).any(0)
        return KV(k, v, value.prefix + new, torch.cat([seen, real(value).expand(-1, queries, -1)], -1))

    def _prompts(self, outs: list[Tokens], acting: list[Tensor] | None) -> Tokens:
        if acting is None:
            total = self._sum([out.x for out in outs], None, outs[0].x)
            return outs[0]._replace(x=torch.where(outs[0].own[..., None], outs[0].x, total))
        length = max(out.x.size(1) for out in outs)
        xs, masks, owns = (torch.stack(parts) for parts in zip(*(lengthened(out, length) for out in outs), strict=True))
        rows = torch.arange(xs.size(1), device=xs.device)
        one = torch.stack(acting).int().argmax(0)[:, 0]  # each row lies as the first that acts on it has it
        x, mask, own = (parts[one, rows] for parts in (xs, masks, owns))
        return Tokens(torch.where(own[..., None], x, self._sum(list(xs), acting, x)), mask, own)


def compile_average(node: Average, units: list[Unit | None], site: Site, parts: Parts) -> Unit | None:
    """Over those that are there, whose weights take over those of the others.

    Raises:
        ValueError: the weights of children that act together add up to 0, and those of all do not; or the children add
            different numbers of positions; or several would have to be inverted.
    """
    whole = sum(node.weights)
    there = [(weight, unit) for weight, unit in zip(node.weights, units, strict=True) if unit is not None and weight]
    if not there:
        return None
    if site.kind in ("kv", "tokens"):
        counted = [child for child, weight in zip(node.children, node.weights, strict=True) if weight]
        if len(set().union(*(added(child, site, parts) for child in counted)) - {()}) > 1:
            raise ValueError(f"{node!r} would average prefixes or prompts that do not lie at the same positions")
    weights, found = [weight for weight, _ in there], [unit for _, unit in there]
    if len(found) == 1 and math.isclose(whole, 1):
        return found[0]
    if site.name == "unembed":
        raise ValueError(f"{node!r} averages invertible adapters, but no function inverts their mean")
    steady = [acts_everywhere(unit) for unit in found]
    for some in _acting_together(weights, steady):
        if whole and math.isclose(sum(some), 0, abs_tol=1e-9):
            raise ValueError(f"{node!r}: the weights of the children that act at {site.path} can add up to 0")
    return Mean(weights, whole, found)


def _acting_together(weights: Sequence[float], steady: Sequence[bool]) -> Iterator[list[float]]:
    """The weights of those that may act on a token: all that are steady, and any of the others."""
    always = [weight for weight, on in zip(weights, steady, strict=True) if on]
    others = [weight for weight, on in zip(weights, steady, strict=True) if not on]
    for count in range(0 if always else 1, len(others) + 1):
        for chosen in combinations(others, count):
            yield [*always, *chosen]


def added(node: Child, site: Site, parts: Parts) -> frozenset[Added]:
    """The prefixes or prompts that a node may add to a row; what differs from row to row is there in each way."""
    if isinstance(node, str):
        unit: Any = parts.adapters[node].unit(site)
        return frozenset([() if unit is None else ((unit.positions, getattr(unit, "combine", None)),)])
    inside = [added(child, site, parts) for child in node.children]
    if isinstance(node, Stack):
        return frozenset(sum(ways, ()) for ways in product(*inside))
    if isinstance(node, Split):
        return frozenset(((node.splits, ways),) if any(ways) else () for ways in product(*inside))
    found: frozenset[Added] = frozenset().union(*inside)
    return found - {()} or found if isinstance(node, Average) else found
