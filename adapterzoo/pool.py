"""A model's adapters: named, with the plans of the setups that were used, and the one that is active."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo.adapter import Absent, Adapter, BesideMerged
from adapterzoo.casting import CastAdapter
from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    Fuse,
    RowGroups,
    Setup,
    Stack,
    fusions_in,
    names_in,
    parse_composition,
)
from adapterzoo.core.registry import NamedModules
from adapterzoo.core.sites import Site, existing_layers
from adapterzoo.fusion import Fusion
from adapterzoo.methods.base import AdapterConfig, resolve_config
from adapterzoo.nn.transformer import Transformer
from adapterzoo.plan import Plan

_KEPT_PLANS = 256
_Key = tuple[AdapterCompositionBlock | None, frozenset[int], tuple[str, ...], bool, torch.dtype]


class Share(NamedTuple):
    """Parameters that adapters have in common.

    Attributes:
        adapters: whose.
        parameters: which, by their names within an adapter.
    """

    adapters: tuple[str, ...]
    parameters: tuple[str, ...]


class AdapterPool(NamedModules[Adapter]):
    """Adapters by name. As `model.adapters_config` it tells their configs: `pool.get("mrpc")`, `"mrpc" in pool`.

    Attributes:
        active: the setup that acts unless another is asked for.
        skip_layers: layers in which nothing acts.
        merged: names of adapters that are folded into the network's weights, in this order. No plan has their units.
        shares: what adapters share, by the name that was given to it.
        frozen: gives a site's weight and bias as they were before adapters were merged into them.
    """

    active: AdapterCompositionBlock | None = None
    skip_layers: frozenset[int] = frozenset()
    merged: tuple[str, ...] = ()
    shares: Mapping[str, Share] = {}
    frozen: Callable[[Site], tuple[Tensor, Tensor] | None]

    def __init__(self) -> None:
        super().__init__("adapter")
        fusions: NamedModules[Fusion] = NamedModules("adapter fusion")
        self.__dict__["_fusions"] = fusions  # past nn.Module, which would take them for an adapter
        self._plans: dict[_Key, Plan] = {}
        self._casts: dict[tuple[str, torch.dtype], CastAdapter] = {}

    def add(
        self,
        name: str,
        config: Any,
        network: Transformer,
        overwrite_ok: bool = False,
        embedded: Callable[[str], Tensor] | None = None,
    ) -> Adapter:
        """Make an adapter. Nothing is changed if that fails. See `Adapter.start` for `embedded`.

        A config may leave out layers that only other, deeper networks have, but not such layers alone.

        Raises:
            ValueError: the name is taken or empty, or the config is none.
        """
        self.check_new(name, overwrite_ok)
        made = resolve_config(config)
        if made.left_out and min(made.left_out) >= network.config.layers:
            existing_layers("leave_out", sorted(made.left_out), network.config)
        adapter = Adapter(made, network)
        if embedded is not None:
            adapter.start(embedded)
        return self.put(name, adapter)

    def put(self, name: str, adapter: Adapter) -> Adapter:
        """Keep an adapter under a name, in place of one that had it.

        Raises:
            ValueError: one of that name is merged.
        """
        self.check_not_merged(name)
        self[name] = adapter
        self._forget(name)
        self._leave_shares(name)
        adapter.train(self.training)
        return adapter

    def remove(self, name: str) -> None:
        """Drop an adapter; a setup in which it was active ends.

        Raises:
            UnknownName: there is none of that name.
            ValueError: it is merged.
        """
        self.check_not_merged(name)
        del self[name]
        self._forget(name)
        self._leave_shares(name)
        if self.active is not None and name in names_in(self.active):
            self.active = None

    def rename(self, old: str, new: str) -> None:
        """Give an adapter another name, in its place, in the active setup and wherever it is merged or shares.

        Raises:
            UnknownName: there is none of the old name.
            ValueError: the new one is taken.
        """
        super().rename(old, new)
        self._forget(old)
        self.active = None if self.active is None else renamed(self.active, old, new)
        self.merged = tuple(new if name == old else name for name in self.merged)
        self.shares = {
            title: share._replace(adapters=tuple(new if name == old else name for name in share.adapters))
            for title, share in self.shares.items()
        }

    def move(self, name: str, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        """Move an adapter to a device or a dtype; plans that cast for it are made anew."""
        self[name].to(device=device, dtype=dtype)
        self._forget(name)

    def _leave_shares(self, name: str) -> None:
        left = {
            title: share._replace(adapters=tuple(other for other in share.adapters if other != name))
            for title, share in self.shares.items()
        }
        self.shares = {title: share for title, share in left.items() if len(share.adapters) > 1}

    def check_not_merged(self, name: str) -> None:
        """Check that an adapter may go or change.

        Raises:
            ValueError: it is merged.
        """
        if name in self.merged:
            raise ValueError(
                f"adapter {name!r} is merged into the network's weights; reset_adapter() takes it out first"
            )

    def _forget(self, name: str) -> None:
        self._plans = {key: plan for key, plan in self._plans.items() if key[0] is None or name not in names_in(key[0])}
        self._casts = {key: cast for key, cast in self._casts.items() if key[0] != name}

    @property
    def fusions(self) -> NamedModules[Fusion]:
        """The fusions of adapters by name. Their parameters are the model's, not this pool's."""
        found: NamedModules[Fusion] = self.__dict__["_fusions"]
        return found

    def put_fusion(self, name: str, fusion: Fusion) -> None:
        """Keep a fusion under a name, in place of one that had it."""
        self.fusions[name] = fusion.train(self.training)
        self._forget_fusion(name)

    def remove_fusion(self, name: str) -> None:
        """Drop a fusion; a setup in which it was active ends.

        Raises:
            UnknownName: there is none of that name.
        """
        del self.fusions[name]
        self._forget_fusion(name)
        if self.active is not None and name in fusions_in(self.active):
            self.active = None

    def _forget_fusion(self, name: str) -> None:
        kept = (key for key in self._plans if key[0] is None or name not in fusions_in(key[0]))
        self._plans = {key: self._plans[key] for key in kept}

    def checked(self, setup: Setup) -> AdapterCompositionBlock | None:
        """A setup as a block, all of whose adapters exist.

        Raises:
            UnknownName: one does not.
        """
        block = parse_composition(setup)
        for name in names_in(block) if block is not None else ():
            self[name]  # for the error
        return block

    def activate(self, setup: Setup, network: Transformer, skip_layers: Sequence[int] | None = None) -> None:
        """Make a setup the active one; its plan is compiled here and now."""
        block, skip = self.checked(setup), existing_layers("skip_layers", skip_layers or (), network.config)
        self.plan(block, network, skip)
        self.active, self.skip_layers = block, skip

    def plan(
        self,
        setup: AdapterCompositionBlock | None,
        network: Transformer,
        skip: frozenset[int] | None = None,
        noted: bool = False,
    ) -> Plan:
        """The plan of a setup, compiled when it is first asked for."""
        dtype = network.token.weight.dtype
        key = (setup, self.skip_layers if skip is None else skip, self.merged, noted, dtype)
        found = self._plans.get(key)
        if found is None:
            found = Plan(setup, self._acting(setup, dtype), network, key[1], dict(self.fusions.items()), noted)
            if len(self._plans) >= _KEPT_PLANS:  # the older half is less likely to be asked for again
                self._plans = dict(list(self._plans.items())[_KEPT_PLANS // 2 :])
            self._plans = {**self._plans, key: found}  # a new dict: another thread may be reading the old one
        return found

    def _acting(self, setup: AdapterCompositionBlock | None, dtype: torch.dtype) -> dict[str, Adapter]:
        """What a plan is compiled from: adapters that are merged do nothing, others are cast where they need it."""
        names = () if setup is None else tuple(names_in(setup))
        there = all(name in self for name in names)  # if not, a plan says so, and lists all that there are
        acting: dict[str, Adapter] = {name: self[name] for name in (names if there else self)}
        for name in names:
            if name in acting:
                acting[name] = Absent() if name in self.merged else self._cast(name, dtype)
                if self.merged and name not in self.merged:
                    acting[name] = BesideMerged(acting[name], self.frozen)
        return acting

    def _cast(self, name: str, dtype: torch.dtype) -> CastAdapter:
        """What stands for an adapter in all plans of networks of a dtype."""
        found = self._casts.get((name, dtype))
        if found is None:
            found = self._casts[name, dtype] = CastAdapter(self[name], dtype)
        return found

    def rows_plan(
        self,
        names: Sequence[str | None],
        network: Transformer,
        last: Container[str] = (),
        skip: frozenset[int] | None = None,
        noted: bool = False,
    ) -> tuple[Plan, list[int], tuple[int, ...]]:
        """The plan for an adapter a row.

        Args:
            names: each row's adapter.
            network: what they act on.
            last: names that come after all others, so that these lie together.
            skip: layers in which nothing acts; the pool's if None.
            noted: whether units tell scores.

        Returns:
            The plan, the order that brings rows with the same adapter together, and how many there are of each.

        Raises:
            UnknownName: an adapter does not exist.
        """
        for name in names:
            if name is not None:
                self[name]  # for the error
        rows: dict[str | None, list[int]] = {}
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        forms = {name: "" if name is None else self[name].form for name in rows}  # which lie together for speed
        kinds = sorted(rows, key=lambda name: (name in last, name is not None, forms[name], name or ""))
        block = RowGroups(*(Stack() if name is None else Stack(name) for name in kinds))
        order = [row for name in kinds for row in rows[name]]
        return self.plan(block, network, skip, noted), order, tuple(len(rows[name]) for name in kinds)

    def get(self, name: str) -> AdapterConfig | None:
        """The config of the adapter of that name; None where there is none."""
        return self[name].config if name in self else None

    def configs(self) -> Iterator[tuple[str, AdapterConfig]]:
        """Names and configs."""
        return ((name, adapter.config) for name, adapter in self.items())

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._plans, self._casts = {}, {}  # which know the adapters' dtypes
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}, "_casts": {}}  # plans hold this pool's units; a copy compiles its own


def renamed(node: Any, old: str, new: str) -> Any:
    """A composition with an adapter under another name. A fusion keeps its own."""
    if isinstance(node, str):
        return new if node == old else node
    options = {**node.options(), **({"name": node.name} if isinstance(node, Fuse) else {})}
    return type(node)(*(renamed(child, old, new) for child in node.children), **options)
