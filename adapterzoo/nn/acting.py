"""What is active at a site acts there: on a projection's output or on its weight, and on a LayerNorm's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from adapterzoo.core.run import Ctx, LayoutLike, Run, Unit
from adapterzoo.nn.activations import Activation
from adapterzoo.nn.linear import Linear, activated, linear, only_values, over

Pair = tuple[Tensor, Tensor]


def adapt(
    name: str,
    y: Tensor,
    x: Tensor,
    weight: Callable[[], tuple[Tensor, Tensor]],
    layout: LayoutLike,
    run: Run,
    units: Mapping[str, Unit],
    own: bool = False,
) -> Tensor:
    """A linear site: y = Wx + b as what is active there leaves it.

    Args:
        name: the site's name within the layer.
        y: (…, d_out), the projection's output.
        x: (…, d_in), its input.
        weight: gives W and b.
        layout: how x and y lie.
        run: the forward.
        units: what is active in this layer.
        own: whether y may be written to; see `may_write`.
    """
    unit = units.get(name)
    if unit is None:
        return y
    out: Tensor = unit(y, Ctx(layout, run, x=x, weight=weight, own=own))
    return out


def may_write(module: nn.Module) -> bool:
    """Whether what a projection gave may be written to: nobody else has seen it, and nobody differentiates."""
    return only_values() and not (module._forward_hooks or _has_any_global_hook())


def projected(
    name: str,
    module: Any,
    x: Tensor,
    layout: LayoutLike,
    run: Run,
    units: Mapping[str, Unit],
    function: Activation | None = None,
) -> Tensor:
    """A linear site with its projection: f of Wx + b as what is active there leaves it; f is x itself if None.

    Args:
        name: the site's name within the layer.
        module: the projection.
        x: (…, d_in).
        layout: how x lies.
        run: the forward.
        units: what is active in this layer.
        function: f.
    """
    unit = units.get(name)
    if unit is None:
        whole: Tensor = module(x, function)
        return whole
    if isinstance(module, Linear) and to_fold(unit, module, x):
        weight, bias = _folded(unit, (module.weight, module.bias))
        return linear(x, weight, bias) if function is None else activated(x, weight, bias, function)
    y, own = module(x), may_write(module)
    out = adapt(name, y, x, module.view, layout, run, units, own)
    if function is None:
        return out
    return over(out, function) if own and out.data_ptr() == y.data_ptr() else function(out)


def to_fold(unit: Any, module: nn.Module, x: Tensor) -> bool:
    """Whether what a unit does is done to the weight that it acts on, for this forward: one product instead of two.

    So it is where the update is as large as the weight, and nobody looks on at the projection, which is not called
    then. Nothing is kept that could become stale.

    Args:
        unit: what is active at a linear site.
        module: the projection.
        x: (…, d_in), what goes in.
    """
    if unit is None or not getattr(unit, "folds", False) or unit.training:
        return False
    if module._forward_pre_hooks or not may_write(module):
        return False
    return x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(x.device.type)


def _folded(unit: Any, pair: Pair) -> Pair:
    """W (d_out, d_in) and b as a unit leaves them."""
    weight, bias = unit.merged(*pair, pair)
    return weight.to(pair[0].dtype), bias.to(pair[1].dtype)


class FoldedParts(NamedTuple):
    """Query, key and value in one weight (3D, D) and bias, and those of 0, 1, 2 whose units are still to act."""

    pair: Pair
    left: frozenset[int]


def folded_parts(qkv: Any, x: Tensor, units: Sequence[Unit | None]) -> FoldedParts | None:
    """The projections as what is active leaves them; None where nothing is to be done to weights.

    Args:
        qkv: the projections.
        x: (…, D), what goes in.
        units: what is active at query, key and value.
    """
    done = [to_fold(unit, qkv, x) for unit in units]
    if not any(done) or not isinstance(getattr(qkv, "weight", None), nn.Parameter):
        return None
    parts = [qkv.q(), qkv.k(), qkv.v()]
    pairs = [_folded(unit, part) if do else part for unit, part, do in zip(units, parts, done, strict=True)]
    weight, bias = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
    return FoldedParts((weight, bias), frozenset(part for part, do in enumerate(done) if not do))


def normed(
    name: str, norm: nn.LayerNorm | None, x: Tensor, layout: LayoutLike, run: Run, units: Mapping[str, Unit]
) -> Tensor:
    """A norm site: LayerNorm(x) as what is active there leaves it; x where there is no LayerNorm.

    Args:
        name: the site's name within the layer.
        norm: the LayerNorm.
        x: (…, D) by token.
        layout: how x lies.
        run: the forward.
        units: what is active in this layer.
    """
    if norm is None:
        return x
    y: Tensor = norm(x)
    unit = units.get(name)
    if unit is None:
        return y
    out: Tensor = unit(y, Ctx(layout, run, x=x, weight=lambda: (norm.weight, norm.bias), norm=norm))
    return out
