"""A setup watched at work: at each place what it makes of a value is held against what a test says it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.block import AdapterCompositionBlock
from adapterzoo.core.run import KV, BlockNorm, Ctx, Final, Tokens, Unit
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.forward import encode
from adapterzoo.inputs import Inputs
from adapterzoo.nn.layout import Layout
from adapterzoo.plan import Plan
from tests.helpers.batches import Batch
from tests.helpers.comparing import assert_close

Leaf = Callable[[str], "Unit | None"]
Expected = Callable[[Any, Ctx, Leaf], Any]


def watch(model: Any, batch: Batch, setup: AdapterCompositionBlock, expected: Expected) -> set[str]:
    """Run a batch under a setup, and compare at each place where it acts.

    Args:
        model: the model.
        batch: the batch.
        setup: what acts.
        expected: says what a value becomes, of it, of what there is to look at, and of each adapter's unit by name.

    Returns:
        The kinds of the places.
    """
    plan, kinds = Plan(setup, dict(model.adapters.items()), model.base), set()
    for site in sites_of(model.base.config):
        units = plan.tables.get((site.stack, site.depth), {})
        if site.name in units:
            units[site.name] = _watched(units[site.name], site, model, expected)
            kinds.add(site.kind)
    with torch.no_grad():
        encode(model, Inputs(**batch), plan)
    return kinds


def _watched(unit: Unit, site: Site, model: Any, expected: Expected) -> Unit:
    def watched(value: Any, ctx: Ctx) -> Any:
        wanted = expected(value, ctx._replace(own=False), lambda name: model.adapters[name].unit(site))
        found = unit(value, ctx)  # the last, for the value may be the unit's own to write to
        same(found, wanted, ctx.layout, site.path)
        return found

    return watched


def same(found: Any, wanted: Any, layout: Any, where: str) -> None:
    """Two values of one place agree, padding aside."""
    assert type(found) is type(wanted), where
    if isinstance(found, KV):
        assert found.prefix == wanted.prefix
        for one, other in zip(found[:2], wanted[:2], strict=True):
            assert_close(one, other, where)
    elif isinstance(found, Tokens):
        assert_close(found.x, wanted.x, where)
        assert torch.equal(found.own, wanted.own)
    else:
        for one, other in zip(parts(found), parts(wanted), strict=True):
            assert_close(real(one, layout), real(other, layout), where)


def parts(value: Tensor | Final) -> list[Tensor]:
    """The tensors of a value by token."""
    if not isinstance(value, Final):
        return [value]
    return [value.value, *([] if value.where is None else [value.where.to(value.value.dtype)])]


def real(tokens: Tensor, layout: Layout) -> Tensor:
    """By token without padding, (N, …)."""
    return tokens if layout.packed or layout.mask is None else tokens[layout.mask]


def columns(value: Any, ctx: Ctx, start: int, stop: int) -> tuple[Any, Ctx]:
    """Some columns of each row, on a grid of their own."""
    old: Any = ctx.layout
    mask = None if old.mask is None else old.mask[:, start:stop]
    layout = Layout(old.rows, stop - start, mask, False)

    def cut(tokens: Tensor | None) -> Tensor | None:
        return None if tokens is None else old.grid(tokens)[:, start:stop]

    def norm(part: Tensor) -> Tensor:
        """The LayerNorm of the whole, of which the other columns are the residual."""
        assert ctx.norm is not None and ctx.residual is not None
        whole = old.grid(ctx.residual).clone()
        whole[:, start:stop] = part
        return old.grid(ctx.norm(old.tokens(whole)))[:, start:stop]

    narrow = ctx._replace(layout=layout, x=cut(ctx.x), residual=cut(ctx.residual))
    narrow = narrow._replace(norm=norm if isinstance(ctx.norm, BlockNorm) else ctx.norm)
    if isinstance(value, KV):
        return value, narrow
    return cut(value), narrow
