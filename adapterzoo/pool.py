"""A model's adapters: named, with the plans of the setups that were used, and the one that is active."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

from adapterzoo.adapter import Adapter
from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    RowGroups,
    Setup,
    Stack,
    names_in,
    parse_composition,
)
from adapterzoo.core.registry import NamedModules
from adapterzoo.core.sites import existing_layers
from adapterzoo.methods.base import AdapterConfig, resolve_config
from adapterzoo.nn.transformer import Transformer
from adapterzoo.plan import Plan

_KEPT_PLANS = 256


class AdapterPool(NamedModules[Adapter]):
    """Adapters by name. As `model.adapters_config` it tells their configs: `pool.get("mrpc")`, `"mrpc" in pool`."""

    active: AdapterCompositionBlock | None = None
    skip_layers: frozenset[int] = frozenset()

    def __init__(self) -> None:
        super().__init__("adapter")
        self._plans: dict[tuple[AdapterCompositionBlock | None, frozenset[int]], Plan] = {}

    def add(self, name: str, config: Any, network: Transformer, overwrite_ok: bool = False) -> Adapter:
        """Make an adapter. Nothing is changed if that fails.

        A config may leave out layers that only other, deeper networks have, but not such layers alone.

        Raises:
            ValueError: the name is taken or empty, or the config is none.
        """
        self.check_new(name, overwrite_ok)
        made = resolve_config(config)
        left_out = made["leave_out"] if "leave_out" in made else ()
        if left_out and min(left_out) >= network.config.layers:
            existing_layers("leave_out", left_out, network.config)
        return self.put(name, Adapter(made, network))

    def put(self, name: str, adapter: Adapter) -> Adapter:
        """Keep an adapter under a name, in place of one that had it."""
        self[name] = adapter
        self._forget(name)
        adapter.train(self.training)
        return adapter

    def remove(self, name: str) -> None:
        """Drop an adapter; a setup in which it was active ends.

        Raises:
            UnknownName: there is none of that name.
        """
        del self[name]
        self._forget(name)
        if self.active is not None and name in names_in(self.active):
            self.active = None

    def _forget(self, name: str) -> None:
        self._plans = {key: plan for key, plan in self._plans.items() if key[0] is None or name not in names_in(key[0])}

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
        self, setup: AdapterCompositionBlock | None, network: Transformer, skip: frozenset[int] | None = None
    ) -> Plan:
        """The plan of a setup, compiled when it is first asked for."""
        key = (setup, self.skip_layers if skip is None else skip)
        found = self._plans.get(key)
        if found is None:
            found = Plan(setup, dict(self.items()), network, key[1])
            if len(self._plans) >= _KEPT_PLANS:
                self._plans = {}
            self._plans = {**self._plans, key: found}  # a new dict: another thread may be reading the old one
        return found

    def rows_plan(
        self, names: Sequence[str | None], network: Transformer, last: Container[str] = ()
    ) -> tuple[Plan, list[int], tuple[int, ...]]:
        """The plan for an adapter a row.

        Args:
            names: each row's adapter.
            network: what they act on.
            last: names that come after all others, so that these lie together.

        Returns:
            The plan, the order that brings rows with the same adapter together, and how many there are of each.

        Raises:
            UnknownName: an adapter does not exist.
        """
        for name in names:
            if name is not None:
                self[name]  # for the error
        kinds = sorted(set(names), key=lambda name: (name in last, name is not None, name or ""))
        order = sorted(range(len(names)), key=lambda row: kinds.index(names[row]))
        sizes = tuple(sum(name == kind for name in names) for kind in kinds)
        block = RowGroups(*(Stack() if kind is None else Stack(kind) for kind in kinds))
        return self.plan(block, network), order, sizes

    def get(self, name: str) -> AdapterConfig | None:
        """The config of the adapter of that name; None where there is none."""
        return self[name].config if name in self else None

    def configs(self) -> Iterator[tuple[str, AdapterConfig]]:
        """Names and configs."""
        return ((name, adapter.config) for name, adapter in self.items())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}  # plans hold this pool's units; a copy compiles its own
