"""What a method is: a frozen config that says which sites it covers and builds a unit for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from inspect import get_annotations
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import NATURAL, Rule, each, wrong_fields
from adapterzoo.core.keymap import Row
from adapterzoo.core.registry import Registry, listing, unknown
from adapterzoo.core.sites import Site
from adapterzoo.methods.strings import parse_config_string, split_union


class Frozen(dict[str, Any]):
    """A mapping that a frozen config may hold: it can be hashed, and nobody changes it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(inner)) for key, inner in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


Self = TypeVar("Self", bound="AdapterConfig")
WeightOf = Callable[[Site], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterConfig(Mapping[str, Any]):
    """Base of all methods. A subclass adds its fields, named as in AdapterHub's files, and three functions.

    It reads as a mapping, too: `config["r"]`, `dict(config)`.

    Attributes:
        architecture: what `adapter_config.json` calls the method.
        hub_infix: what stands between a site's module and the adapter's name in AdapterHub's tensor names.
        hub_shared: what stands before the adapter's name in AdapterHub's names of shared tensors.
        hub_constants: fields that AdapterHub's files have for the method and that always have these values.
        own_fields: fields that AdapterHub's library does not know. They are written only where they say something:
            where they differ from the default of the class that the file would be read as.
        rules: what values of fields must be, beyond the type that the field is declared with.

    Raises:
        ValueError: a value is not of its field's type or breaks a rule; all are listed.
    """

    architecture: ClassVar[str | None] = None
    hub_infix: ClassVar[str] = ""
    hub_shared: ClassVar[str] = "shared_parameters"
    hub_constants: ClassVar[Mapping[str, Any]] = {}
    own_fields: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[Mapping[str, Rule]] = {}

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """Whether the method acts at `site`."""
        raise TypeError(f"{type(self).__name__} is no method: it does not say which sites it covers")

    def shared(self, sites: list[Site], network: NetworkConfig) -> dict[str, nn.Module]:
        """Modules that the units share, by the name of their group; "shared" if there is but one.

        One that has a method `once()` has it called once in a forward; its result is `ctx.once[module]`. One whose
        tensors depend on which layers there are has a method `part_of(larger)`: its state, by name, as it stands in
        `larger`, the same module for more layers.
        """
        return {}

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """The unit for one site that `covers` accepted: a module called as `value = unit(value, ctx)`.

        What else it can do is found by presence:
        `merged(weight, bias, frozen)` gives the weight (d_out, d_in) and bias that do without it, from those of now and
        the pair that was frozen;
        `folds` (True) says that what it adds is a product as large as the site's own: where nothing is differentiated,
        the product is made with what `merged` gives instead;
        `branch(value, ctx)` gives the Branch that AdapterFusion weighs;
        `inverse(value, ctx)` takes back, before words are scored, what it did at the site `embed`;
        `start(embedded)` is called when the adapter is new, but not when it is read from a file: `embedded(text)` gives
        the token embeddings (n, D) of a text's tokens, or says what is missing;
        `reads_row` (True) says that a token's value depends on the row's other tokens;
        `any_dtype` (True) says that it takes a value of another dtype than its own, and leaves it in that;
        `positions` says how many positions it adds: a prefix's or a prompt's;
        `alike` (hashable; None: nothing) says what units of several adapters agree in that can act at once, each on its
        own rows: in all but their tensors `tensors(ctx)`. The value, and what `ctx` says by token, are (G, L, …) then,
        L tokens of each of G units, and the call is `unit(value, ctx, *stacks)`: each stack has a weight of each of the
        G units along its first dimension; see `nn/each.py`. Of keys and values, stacks have a weight for each row.
        No token's value may depend on another token, for some are padding.

        Args:
            site: the place.
            shared: what `shared` made.
            weight_of: gives the frozen weight and bias behind a linear site.
        """
        raise TypeError(f"{type(self).__name__} is no method: it builds no units")

    def units(
        self, sites: list[Site], shared: Mapping[str, nn.Module], network: NetworkConfig, weight_of: WeightOf
    ) -> dict[Site, nn.Module]:
        """The units for all sites that `covers` accepted."""
        return {site: self.unit(site, shared, weight_of) for site in sites}

    def at(self, site: Site, network: NetworkConfig) -> AdapterConfig:
        """The config whose unit acts at `site`: this one, but for a union of several."""
        return self

    def of_group(self, group: str) -> tuple[AdapterConfig, str]:
        """The config that made a group of shared modules, and what that config calls it."""
        return self, group

    @property
    def left_out(self) -> frozenset[int]:
        """The layers that it says to leave out."""
        return frozenset(getattr(self, "leave_out", ()))

    def without(self, layers: frozenset[int]) -> AdapterConfig:
        """The same for fewer layers; itself if it has no `leave_out`."""
        return self.replace(leave_out=sorted(self.left_out | layers)) if "leave_out" in self else self

    def hub_unit(self, site: Site) -> str:
        """What stands between a site's module and the adapter's name in AdapterHub's tensor names."""
        return self.hub_infix

    def hub_keys(self) -> list[Row]:
        """AdapterHub's and our names of a unit's and shared parameters, where they differ."""
        return []

    def hub_config(self) -> dict[str, Any]:
        """What AdapterHub's files say of it: its fields, or where that library lacks some, what computes the same."""
        return self.to_dict()

    def to_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """An adapter's tensors as AdapterHub's files hold them, by the names there."""
        return dict(tensors)

    def from_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse: a file's tensors in the shapes that they have here, by the names of AdapterHub's files."""
        return dict(tensors)

    def fitted(self, tensors: Mapping[str, Tensor]) -> AdapterConfig:
        """The config of a file that says this one and holds these tensors, where they say more than it does."""
        return self

    def __post_init__(self) -> None:
        for field in fields(self):  # JSON brings lists; values must be hashable
            value = getattr(self, field.name)
            if isinstance(value, (list, Mapping)):
                object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else Frozen(value))
        wrong = list(wrong_fields(self, _kinds(type(self)), {"leave_out": each(NATURAL), **self.rules}))
        wrong = wrong or list(self.problems())
        if wrong:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(wrong))

    def problems(self) -> Iterator[str]:
        """What is wrong with values that are right by themselves, but not together."""
        return iter(())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AdapterConfig) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(_hashable(self.to_dict()))

    def __getitem__(self, key: str) -> Any:
        if key not in self._names():
            raise KeyError(unknown(f"field of {type(self).__name__}", key, self._names()))
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    @classmethod
    def _names(cls) -> list[str]:
        return list(_fields_of(cls))

    @classmethod
    def _defaults(cls) -> Mapping[str, Any]:
        return _fields_of(cls)

    def replace(self: Self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self).from_dict({**{key: self[key] for key in self}, **changes})

    def to_dict(self) -> dict[str, Any]:
        """As AdapterHub's `adapter_config.json` holds it."""
        read_as = METHODS[self.architecture or "bottleneck"]._defaults()
        said = [key for key in self if key not in self.own_fields or self[key] != read_as.get(key)]
        plain = {key: list(v) if isinstance(v := self[key], tuple) else v for key in said}
        architecture = {} if self.architecture is None else {"architecture": self.architecture}
        return {**architecture, **self.hub_constants, **plain}

    @classmethod
    def from_dict(cls: type[Self], data: Mapping[str, Any]) -> Self:
        """The config with these fields.

        Raises:
            ValueError: a field that the method does not have, or a value it cannot have; all are listed.
        """
        names, wrong, given = cls._names(), [], {}
        for key, value in data.items():
            if key in names:
                given[key] = value
            elif key in cls.hub_constants:
                if value != cls.hub_constants[key]:
                    wrong.append(f"{key}={value!r}: {cls.__name__} has only {cls.hub_constants[key]!r}")
            elif key != "architecture":
                wrong.append(unknown("field", key, names))
        if wrong:
            raise ValueError(f"{cls.__name__}: " + "; ".join(wrong))
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"{cls.__name__} cannot be made from {sorted(given)}: {error}") from error

    @staticmethod
    def load(config: Any, **overrides: Any) -> AdapterConfig:
        """See `resolve_config`."""
        return resolve_config(config, **overrides)


METHODS: Registry[type[AdapterConfig]] = Registry("adapter method")
"""Methods by what files call their architecture; the bottleneck, which files do not name, is "bottleneck"."""

PRESETS: Registry[AdapterConfig] = Registry("adapter config")
"""Ready configs by the names that users write: "lora", "seq_bn", …"""

DEFAULT = "seq_bn"


def resolve_config(config: Any = None, **overrides: Any) -> AdapterConfig:
    """Whatever a user may write as a config, as a config.

    Args:
        config: None (the default, "seq_bn"), a config, a mapping of its fields, the path of a JSON file, a preset's
            name, a string such as "lora[r=16, dropout=0.1]", or several joined by "|", which make a union.
        overrides: fields to set on top; None leaves a field as it is.

    Raises:
        TypeError: it is none of these.
        ValueError: a name, a field or a value is wrong; the message says what there is.
        FileNotFoundError: there is no such file.
    """
    changes = {key: value for key, value in overrides.items() if value is not None}
    base = _base_config(DEFAULT if config is None else config)
    return base.replace(**changes) if changes else base


def _base_config(config: Any) -> AdapterConfig:
    if isinstance(config, AdapterConfig):
        return config
    if isinstance(config, Mapping):
        return config_from_dict(config)
    if isinstance(config, (str, Path)) and Path(config).suffix == ".json":
        return config_from_dict(fields_from_file(Path(config)))
    if isinstance(config, str):
        parts = [_preset(*parse_config_string(part)) for part in split_union(config)]
        return parts[0] if len(parts) == 1 else METHODS["union"].from_dict({"configs": parts})
    raise TypeError(f"an adapter config is a name ({listing(PRESETS)}), a config, a dict or a path, not {config!r}")


def _preset(name: str, changes: Mapping[str, Any]) -> AdapterConfig:
    preset = PRESETS[name]
    return preset.replace(**changes) if changes else preset


def fields_from_file(path: Path) -> dict[str, Any]:
    """A config's fields and values in a JSON file, under "config" if it has such an entry.

    Raises:
        ValueError: there are none.
        FileNotFoundError: there is no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of the one are JSONDecodeError, UnicodeDecodeError
        raise ValueError(f"{path} is not JSON: {error}") from error
    config = data.get("config", data) if isinstance(data, dict) else data
    if not isinstance(config, dict):
        raise ValueError(f"{path} should hold a config's fields and values, not {type(config).__name__}")
    return config


def config_from_dict(data: Mapping[str, Any]) -> AdapterConfig:
    """The config that a file's `config` entry describes, in the class whose constants it agrees with."""
    architecture = data.get("architecture") or "bottleneck"
    return METHODS[architecture].from_dict(data)


@cache
def _fields_of(kind: type[AdapterConfig]) -> dict[str, Any]:
    """A config's fields and what they are unless told otherwise."""
    return {field.name: field.default for field in fields(kind)}


@cache
def _kinds(kind: type[AdapterConfig]) -> dict[str, Any]:
    """The types that a config's fields are declared with."""
    hints = {name: hint for one in reversed(kind.__mro__[:-1]) for name, hint in _declared(one).items()}
    return {field.name: hints[field.name] for field in fields(kind)}


@cache  # Configs share most of their fields: each class's are looked at once, not again for every heir.
def _declared(kind: type) -> dict[str, Any]:
    return get_annotations(kind, eval_str=True)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Random numbers from `seed` within, the caller's generator untouched; with None nothing changes."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
