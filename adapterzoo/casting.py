"""Adapters of another dtype than the network's: what passes through their units is cast, there and back."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo.adapter import Adapter
from adapterzoo.core.run import Ctx, Unit
from adapterzoo.core.sites import Site


def cast(thing: Any, dtype: torch.dtype) -> Any:
    """Every floating-point tensor in a value in another dtype."""
    if isinstance(thing, Tensor):
        return thing.to(dtype) if thing.is_floating_point() else thing
    if isinstance(thing, tuple):
        parts = [cast(part, dtype) for part in thing]
        return type(thing)(*parts) if hasattr(thing, "_fields") else tuple(parts)
    return thing


class Cast:
    """A unit whose value, and what it looks at, are in its own dtype; the value goes on in the dtype in which it came.

    Args:
        unit: the unit.
        dtype: its dtype.
        outer: the network's.
    """

    def __init__(self, unit: Unit, dtype: torch.dtype, outer: torch.dtype) -> None:
        self.unit, self.dtype, self.outer = unit, dtype, outer

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The unit's value."""
        return self._called(self.unit, value, ctx)

    def __getattr__(self, ability: str) -> Any:
        if ability == "unit":  # of a copy that has nothing yet
            raise AttributeError(ability)
        found = getattr(self.unit, ability)
        return partial(self._called, found) if ability == "branch" else found

    def _called(self, function: Unit, value: Any, ctx: Ctx) -> Any:
        return cast(function(cast(value, self.dtype), self._seen(ctx)), self.outer)

    def _seen(self, ctx: Ctx) -> Ctx:
        weight = ctx.weight
        norm: Any = None if ctx.norm is None else partial(self._normed, ctx.norm)
        return ctx._replace(
            x=cast(ctx.x, self.dtype),
            residual=cast(ctx.residual, self.dtype),
            weight=None if weight is None else lambda: cast(weight(), self.dtype),
            norm=norm,
        )

    def _normed(self, norm: Any, x: Tensor) -> Tensor:
        out: Tensor = norm(x.to(self.outer)).to(self.dtype)
        return out


class CastAdapter(Adapter):
    """What stands in plans for an adapter: its units, cast where its dtype is another than the network's.

    Args:
        adapter: the adapter.
        outer: the network's dtype.
    """

    def __init__(self, adapter: Adapter, outer: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.config, self.shared, self.units, self.outer = adapter.config, adapter.shared, adapter.units, outer
        self.known: dict[Site, Unit | None] = {}
        self.kinds: dict[Site, Hashable] = {}
        self.reads: dict[str, bool] = {}

    def unit(self, site: Site) -> Unit | None:
        """The unit at a site, cast unless it takes values of any dtype. Looked for once."""
        if site not in self.known:
            self.known[site] = self._unit(site)
        return self.known[site]

    def kind(self, site: Site) -> Hashable:
        """What the unit at a site agrees in with those of other adapters that it can act together with. Asked once."""
        if site not in self.kinds:
            unit = self.unit(site)
            alike = getattr(unit, "alike", None) if isinstance(unit, nn.Module) else None  # what casts has no such
            self.kinds[site] = None if alike is None else (type(unit), alike)
        return self.kinds[site]

    def reads_rows(self, stack: str) -> bool:
        """As the adapter says. Asked once."""
        if stack not in self.reads:
            self.reads[stack] = super().reads_rows(stack)
        return self.reads[stack]

    def _unit(self, site: Site) -> Unit | None:
        unit = super().unit(site)
        if unit is None or getattr(unit, "any_dtype", False):
            return unit
        dtype = dtype_of(unit) if isinstance(unit, nn.Module) else None
        dtype = dtype or dtype_of(self)
        return unit if dtype in (None, self.outer) else Cast(unit, dtype, self.outer)


def dtype_of(module: nn.Module) -> torch.dtype | None:
    """The dtype of a module's first floating-point tensor; None where it has none."""
    tensors = (*module.parameters(), *module.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)
