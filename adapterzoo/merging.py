"""Adapters folded into the network's weights, and taken out again, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from adapterzoo.adapter import Adapter
from adapterzoo.casting import dtype_of
from adapterzoo.core.compose import AdapterCompositionBlock, Child, Setup, Stack, parse_composition
from adapterzoo.core.registry import listing
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.host import Host
from adapterzoo.quantizing import check_float

WEIGHTED = ("linear", "norm", "lookup")
"""The kinds of sites that have a weight to fold into."""

Pair = tuple[Tensor, Tensor]


class Originals(nn.Module):
    """Weights and biases as they were before adapters were merged, by site.

    They are buffers, so they move with the model; they are in no state dict.
    """

    def pair(self, site: Site) -> Pair | None:
        """What the site's weight and bias were; None where nothing is merged."""
        found = self._buffers.get(f"{site.slug}-weight"), self._buffers.get(f"{site.slug}-bias")
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    def keep(self, site: Site, pair: Pair) -> None:
        """Keep copies of a site's weight and bias."""
        for name, tensor in zip(("weight", "bias"), pair, strict=True):
            self.register_buffer(f"{site.slug}-{name}", tensor.detach().clone(), persistent=False)

    def clear(self) -> None:
        """Keep nothing."""
        self._buffers.clear()


class Merging(Host, Protocol):
    """A model whose adapters can be merged."""

    originals: Originals


def merge(model: Merging, setup: Setup) -> None:
    """See `ManagedModel.merge_adapter`."""
    merged = model.adapters.merged
    order = (*merged, *(name for name in _stacked(model, setup) if name not in merged))
    if order == merged:
        return
    check_float(model, "nothing can be merged into; merge adapters first, then quantize_base()")
    changed = _folded(model, order)
    with torch.no_grad():
        for fold in changed:
            if model.originals.pair(fold.site) is None:
                model.originals.keep(fold.site, fold.place)
            _write(fold.place, (fold.weight, fold.bias))
    model.adapters.merged = order


def reset(model: Merging) -> None:
    """See `ManagedModel.reset_adapter`."""
    with torch.no_grad():
        for site in sites_of(model.base.config):
            pair = model.originals.pair(site)
            if pair is not None:
                _write(model.base.weight_of(site), pair)
    model.originals.clear()
    model.adapters.merged = ()


@contextmanager
def unmerged(model: Merging) -> Iterator[tuple[str, ...]]:
    """The model with the weights that are its own; afterwards as it was. Gives the names of what was merged."""
    merged = model.adapters.merged
    reset(model)
    try:
        yield merged
    finally:
        merge(model, merged)


def check_loading(model: Merging, names: Iterable[str]) -> None:
    """Check that nothing would be loaded over weights into which adapters are merged.

    Raises:
        ValueError: it would.
    """
    if model.adapters.merged and any(name.startswith("base.") for name in names):
        raise ValueError(
            f"{listing(model.adapters.merged)}: merged into the weights that would be loaded; reset_adapter() first"
        )


def check_switching(model: Host) -> None:
    """Check that the token embedding may be changed for another.

    Raises:
        ValueError: an adapter is merged into it.
    """
    looked_up = [site for site in sites_of(model.base.config) if site.kind == "lookup"]
    for name in model.adapters.merged:
        if any(model.adapters[name].module_at(site) is not None for site in looked_up):
            raise ValueError(f"adapter {name!r} is merged into the token embedding; reset_adapter() takes it out first")


def unload(model: Merging, setup: Setup) -> None:
    """See `ManagedModel.merge_and_unload`."""
    chosen = model.adapters.active if setup is None else setup
    if chosen is None and not model.adapters.merged:
        raise ValueError(f"name the adapters to merge: none is active; there are {listing(model.adapters)}")
    merge(model, chosen)
    model.originals.clear()
    model.adapters.merged = ()
    model.set_active_adapters(None)
    for name in list(model.adapters.fusions):
        model.adapters.remove_fusion(name)
    for name in list(model.adapters):
        model.adapters.remove(name)


def _stacked(model: Merging, setup: Setup) -> list[str]:
    """The names in a setup that merging can express, in the order in which they act.

    Raises:
        UnknownName: an adapter does not exist.
        ValueError: it holds another block than Stack, or a name twice.
    """
    block: AdapterCompositionBlock | None = model.adapters.checked(parse_composition(setup))
    names = [] if block is None else list(_names(block))
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{setup!r} names {listing(twice)} twice; an adapter is merged once")
    return names


def _names(node: Child) -> Iterator[str]:
    if isinstance(node, str):
        yield node
        return
    if not isinstance(node, Stack):
        raise ValueError(
            f"{node!r} is no change of weights, which would be for all rows and tokens alike; merge a name or a Stack, "
            "and make one adapter of several by average_adapter"
        )
    for child in node.children:
        yield from _names(child)


class Fold(NamedTuple):
    """What a site's weight and bias become.

    Attributes:
        site: the place.
        place: the weight and bias themselves, as views.
        weight, bias: what they become.
    """

    site: Site
    place: Pair
    weight: Tensor
    bias: Tensor


def _folded(model: Merging, order: tuple[str, ...]) -> list[Fold]:
    """What all weights become with adapters merged one after the other. Nothing is written.

    Raises:
        ValueError: an adapter cannot be merged; all reasons are told.
    """
    places, folds = _Places(model), []
    problems = {name: _without_weight(model, name) for name in order}
    adapters = {name: _widened(model.adapters[name], places.dtype) for name in order}
    for site in sites_of(model.base.config):
        units = {name: unit for name in order if hasattr(unit := adapters[name].module_at(site), "merged")}
        if not units or site.kind not in WEIGHTED:
            continue
        try:
            places.check(site)
            folds.append(_fold(site, places, model.originals.pair(site), units.values()))
        except ValueError as error:
            problems[list(units)[-1]].setdefault(str(error), []).append(site.path)
    told = [f"adapter {name!r}, {_few(at)}: {why}" for name, found in problems.items() for why, at in found.items()]
    if told:
        raise ValueError("nothing is merged, for it cannot be:\n  " + "\n  ".join(told))
    return folds


def _widened(adapter: Adapter, dtype: torch.dtype) -> Adapter:
    """The adapter in a dtype: a copy, unless it has that."""
    return adapter if dtype_of(adapter) == dtype else copy.deepcopy(adapter).to(dtype)


def _without_weight(model: Merging, name: str) -> dict[str, list[str]]:
    """Where an adapter's units are no change of weights, by the reason."""
    adapter, found = model.adapters[name], dict[str, list[str]]()
    for site in sites_of(model.base.config):
        unit = adapter.module_at(site)
        if unit is not None and not (site.kind in WEIGHTED and hasattr(unit, "merged")):
            found.setdefault(f"what {type(unit).__name__} does is no change of weights", []).append(site.path)
    return found


def _few(paths: list[str]) -> str:
    return ", ".join(paths[:2]) + (f" and {len(paths) - 2} more places" if len(paths) > 2 else "")


class _Places:
    """Where sites' weights and biases lie.

    Args:
        model: whose.

    Attributes:
        dtype: what is computed with: no less than float32.
    """

    def __init__(self, model: Merging) -> None:
        self.network, weight = model.base, model.base.token.weight
        self.dtype = torch.promote_types(weight.dtype, torch.float32)
        self.stored = {_storage(parameter) for parameter in model.base.parameters()}
        self.heads = {
            _storage(parameter): name for name, head in model.heads_of().items() for parameter in head.parameters()
        }
        self.users: dict[int, list[str]] = {}
        for site in sites_of(model.base.config):
            if site.kind in WEIGHTED:
                self.users.setdefault(model.base.weight_of(site)[0].data_ptr(), []).append(site.path)

    def check(self, site: Site) -> None:
        """Check that a weight is one site's alone.

        Raises:
            ValueError: others use it, too.
        """
        weight, _ = self.network.weight_of(site)
        others = [path for path in self.users[weight.data_ptr()] if path != site.path]
        if others:
            raise ValueError(f"its weight is that of {others[0]}, too")
        if _storage(weight) in self.heads:
            raise ValueError(f"its weight is the vocabulary's in the head {self.heads[_storage(weight)]!r}, too")


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _fold(site: Site, places: _Places, original: Pair | None, units: Iterable[Any]) -> Fold:
    """What a weight and bias become.

    Raises:
        ValueError: a unit cannot be folded in, there is no bias that it could change, or numbers would not be finite.
    """
    place = places.network.weight_of(site)
    weight, bias = place
    frozen = tuple(tensor.to(places.dtype) for tensor in original or place)
    with torch.no_grad():
        now = frozen
        for unit in units:
            now = unit.merged(*now, frozen)
        new_weight, new_bias = now[0].to(weight.dtype), now[1].to(bias.dtype)
    if not (new_weight.isfinite().all() and new_bias.isfinite().all()):
        raise ValueError("the weights would not be finite")
    if _storage(bias) not in places.stored and new_bias.any():
        raise ValueError("there is no bias, which it would change")
    return Fold(site, place, new_weight, new_bias)


def _write(place: Pair, pair: Pair) -> None:
    for own, new in zip(place, pair, strict=True):
        own.copy_(new)
