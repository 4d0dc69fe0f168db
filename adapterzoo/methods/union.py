"""Unions: one adapter that acts by several methods at once, as MAM and UniPELT do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.registry import unknown
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf, config_from_dict
from adapterzoo.methods.bottleneck import BnConfig, ParBnConfig, SeqBnConfig
from adapterzoo.methods.lora_config import LoRAConfig
from adapterzoo.methods.prefix_tuning import PrefixTuningConfig


@METHODS.register("union")
@dataclass(frozen=True, eq=False, init=False, repr=False)
class ConfigUnion(AdapterConfig):
    """Several configs as one: the adapter has the units of all of them. At each site at most one may act.

    It reads as a mapping of its members' fields with their numbers in front, and by number: `union["0.r"]`, `union[0]`.

    Args:
        configs: the members.

    Raises:
        TypeError: one is no config, or is a union itself.
        ValueError: there is none.
    """

    architecture: ClassVar[str | None] = "union"

    configs: tuple[AdapterConfig, ...]

    def __init__(self, *configs: AdapterConfig) -> None:
        for config in configs:
            if not isinstance(config, AdapterConfig):
                raise TypeError(f"a union joins configs, not {config!r}")
            if isinstance(config, ConfigUnion):
                raise TypeError(f"a union joins single configs, not unions such as {config!r}")
        if not configs:
            raise ValueError(f"{type(self).__name__}: there is no config to join")
        object.__setattr__(self, "configs", configs)

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The sites of all members.

        Raises:
            ValueError: two act at the site.
        """
        there = [number for number, config in enumerate(self.configs) if config.covers(site, network)]
        if len(there) > 1:
            said = " and ".join(f"{number} ({self.configs[number].architecture or 'bottleneck'})" for number in there)
            raise ValueError(
                f"members {said} of the union both act at {site.path}; leave one out there, or make adapters of their "
                "own of them and activate these together: Stack('first', 'second')"
            )
        return bool(there)

    def shared(self, sites: list[Site], network: NetworkConfig) -> dict[str, nn.Module]:
        """The members' groups, with their numbers in front."""
        groups: dict[str, nn.Module] = {}
        for number, config in enumerate(self.configs):
            own = _sites_of(config, sites, network)
            made = config.shared(own, network) if own else {}
            groups |= {f"{number}-{group}": module for group, module in made.items()}
        return groups

    def units(
        self, sites: list[Site], shared: Mapping[str, nn.Module], network: NetworkConfig, weight_of: WeightOf
    ) -> dict[Site, nn.Module]:
        """The members' units, in the order of the sites."""
        made: dict[Site, nn.Module] = {}
        for number, config in enumerate(self.configs):
            stem = f"{number}-"
            own = {name.removeprefix(stem): module for name, module in shared.items() if name.startswith(stem)}
            made |= config.units(_sites_of(config, sites, network), own, network, weight_of)
        return {site: made[site] for site in sites}

    def at(self, site: Site, network: NetworkConfig) -> AdapterConfig:
        """The member that acts at `site`."""
        return next(config for config in self.configs if config.covers(site, network))

    def of_group(self, group: str) -> tuple[AdapterConfig, str]:
        """The member that made a group, and what it calls it."""
        number, _, name = group.partition("-")
        return self.configs[int(number)], name

    @property
    def left_out(self) -> frozenset[int]:
        """The layers that some member leaves out."""
        return frozenset(chain.from_iterable(config.left_out for config in self.configs))

    def without(self, layers: frozenset[int]) -> AdapterConfig:
        """The union of the members, each for fewer layers."""
        return ConfigUnion(*(config.without(layers) for config in self.configs))

    def hub_config(self) -> dict[str, Any]:
        """What AdapterHub's files say of the members."""
        return {"architecture": self.architecture, "configs": [config.hub_config() for config in self.configs]}

    def to_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The members' tensors as AdapterHub's files hold them; each member knows its own by their names."""
        for config in self.configs:
            tensors = config.to_hub(tensors)
        return dict(tensors)

    def from_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse."""
        for config in self.configs:
            tensors = config.from_hub(tensors)
        return dict(tensors)

    def fitted(self, tensors: Mapping[str, Tensor]) -> AdapterConfig:
        """The members as a file's tensors say."""
        return ConfigUnion(*(config.fitted(tensors) for config in self.configs))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):
            return self.configs[key]
        number, _, name = str(key).partition(".")
        if number.isdecimal() and int(number) < len(self.configs) and name in self.configs[int(number)]:
            return self.configs[int(number)][name]
        if key == "configs":
            return self.configs
        raise KeyError(unknown(f"field of {type(self).__name__}", key, self))

    def __iter__(self) -> Iterator[str]:
        return (f"{number}.{key}" for number, config in enumerate(self.configs) for key in config)

    def __len__(self) -> int:
        return sum(map(len, self.configs))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.configs))})"

    def replace(self, **changes: Any) -> ConfigUnion:
        """A union with some fields changed: of one member ("0.r"), or of every member that has the field ("leave_out").

        Raises:
            ValueError: no member has the field, or a value is wrong.
        """
        union = ConfigUnion.from_dict({"configs": changes.pop("configs")}) if "configs" in changes else self
        own = [_changes_of(number, config, changes) for number, config in enumerate(union.configs)]
        known = {key for keys, _ in own for key in keys}
        wrong = [unknown("field", key, ["configs", *union]) for key in changes if key not in known]
        if wrong:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(wrong))
        return ConfigUnion(*(c.replace(**given) for c, (_, given) in zip(union.configs, own, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """As AdapterHub's `adapter_config.json` holds it."""
        return {"architecture": self.architecture, "configs": [config.to_dict() for config in self.configs]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConfigUnion:
        """The union with these members, which are configs or their dicts.

        Raises:
            TypeError: a member is a union.
            ValueError: there is no list of members, or one is wrong.
        """
        wrong = [unknown("field", key, ["configs"]) for key in data if key not in ("architecture", "configs")]
        configs = data.get("configs")
        if not isinstance(configs, (list, tuple)) or not all(isinstance(one, Mapping) for one in configs):
            wrong.append(f"configs must be a list of configs, not {configs!r}")
        if wrong:
            raise ValueError(f"{ConfigUnion.__name__}: " + "; ".join(wrong))
        assert configs is not None
        return ConfigUnion(*(one if isinstance(one, AdapterConfig) else config_from_dict(one) for one in configs))


def _sites_of(config: AdapterConfig, sites: list[Site], network: NetworkConfig) -> list[Site]:
    return [site for site in sites if config.covers(site, network)]


def _changes_of(number: int, config: AdapterConfig, changes: Mapping[str, Any]) -> tuple[set[str], dict[str, Any]]:
    """Which changes are for a member, as they were written, and what they change in it."""
    keys, given = set(), {}
    for key, value in changes.items():
        whose, _, name = key.rpartition(".")
        if whose in ("", str(number)) and name in config:
            keys.add(key)
            given[name] = value
    return keys, given


class MAMConfig(ConfigUnion):
    """Mix-and-Match (He et al. 2021, arXiv:2110.04366): prefixes, and a parallel bottleneck at the feed-forward block.

    Args:
        prefix_tuning: PrefixTuningConfig(bottleneck_size=800) if None.
        adapter: ParBnConfig() if None.

    Raises:
        TypeError: one is of another kind.
    """

    def __init__(self, prefix_tuning: PrefixTuningConfig | None = None, adapter: BnConfig | None = None) -> None:
        prefix_tuning = PrefixTuningConfig(bottleneck_size=800) if prefix_tuning is None else prefix_tuning
        adapter = ParBnConfig() if adapter is None else adapter
        for config, kind in ((prefix_tuning, PrefixTuningConfig), (adapter, BnConfig)):
            if not isinstance(config, kind):
                raise TypeError(f"MAMConfig joins a PrefixTuningConfig and a BnConfig, not {config!r}")
        super().__init__(prefix_tuning, adapter)

    @property
    def prefix_tuning(self) -> AdapterConfig:
        """The prefixes' config."""
        return self.configs[0]

    @property
    def adapter(self) -> AdapterConfig:
        """The bottleneck's config."""
        return self.configs[1]


class UniPELTConfig(ConfigUnion):
    """UniPELT (Mao et al. 2022, arXiv:2110.07577): prefixes, bottlenecks and LoRA, each behind a gate of its own.

    Args:
        prefix_tuning: PrefixTuningConfig(prefix_length=10) if None.
        adapter: SeqBnConfig(reduction_factor=16) if None.
        lora: LoRAConfig(r=8, alpha=2) if None.
    """

    def __init__(
        self,
        prefix_tuning: PrefixTuningConfig | None = None,
        adapter: BnConfig | None = None,
        lora: LoRAConfig | None = None,
    ) -> None:
        configs = (
            PrefixTuningConfig(prefix_length=10) if prefix_tuning is None else prefix_tuning,
            SeqBnConfig(reduction_factor=16) if adapter is None else adapter,
            LoRAConfig(r=8, alpha=2) if lora is None else lora,
        )
        super().__init__(*(config.replace(use_gating=True) for config in configs))


PRESETS.add("mam", MAMConfig())
PRESETS.add("unipelt", UniPELTConfig())
