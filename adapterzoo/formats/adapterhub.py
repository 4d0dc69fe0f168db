"""AdapterHub's files: an adapter's config and tensors, as `adapters` and adapter-transformers write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from adapterzoo.adapter import Adapter
from adapterzoo.archs.base import Architecture
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.keymap import KeyMap
from adapterzoo.core.misfit import misfit
from adapterzoo.core.sites import sites_of
from adapterzoo.methods.base import METHODS, AdapterConfig, config_from_dict

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter.safetensors", "pytorch_adapter.bin")
HEAD_CONFIG = "head_config.json"
HEAD_WEIGHTS = ("model_head.safetensors", "pytorch_model_head.bin")
VERSION = "adapters.1.3.0"
"""The version of the format that is written."""

OWN_CONFIG = "adapterzoo"
"""What `adapter_config.json` calls the config as it is here, where AdapterHub's library would read it as another."""

_OLD_NAMES = {
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
PLACES = frozenset(
    place.rpartition(".")[2] for method in METHODS.values() for place in (method.hub_infix, method.hub_shared) if place
) | {"invertible_adapters"}
"""What stands right before an adapter's name in the names of its tensors."""

_PEER_VERSION = re.compile(r"adapters\.(\d+)\.(\d+)")
_OLD_ACTIVATIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}


def tensor_names(
    adapter: Adapter, name: str, architecture: Architecture, network: NetworkConfig
) -> tuple[dict[str, str], dict[str, str]]:
    """AdapterHub's name of each of an adapter's tensors, without the model's prefix, and second names of some.

    Args:
        adapter: the adapter.
        name: its name in the file.
        architecture: of its model.
        network: its model's numbers.

    Returns:
        Our names by theirs, and our names by the names under which they may come a second time.
    """
    main: dict[str, str] = {}
    tables: dict[int, KeyMap] = {}  # by the config's id: to compare configs takes longer than to make a table

    def table_of(config: AdapterConfig) -> KeyMap:
        if id(config) not in tables:
            tables[id(config)] = KeyMap(config.hub_keys())
        return tables[id(config)]

    second: dict[str, str] = {}
    stems: list[str] = []
    for site in sites_of(network):
        unit = adapter.module_at(site)
        if unit is None:
            continue
        config = adapter.config.at(site, network)
        stem = f"{architecture.hub_module(site)}.{config.hub_unit(site)}.{name}".removeprefix(".")
        table = table_of(config)
        main |= _names(unit, stem, f"units.{site.slug}", table)
        for p in ("weight", "bias"):
            for row in table.rows:
                for alias in row.aliases:
                    second[f"{stem}.{alias}".replace("{p}", p)] = f"units.{site.slug}.{row.ours}".replace("{p}", p)
    for group, module in adapter.shared.items():
        config, own = adapter.config.of_group(group)
        stem = architecture.hub_group(own).replace("{shared}", f"{config.hub_shared}.{name}")
        stems.append(stem)
        if stems.count(stem) > 1:  # of two members of a union; AdapterHub's library has one group of a name
            stem = f"{stem}-{stems.count(stem)}"
        main |= _names(module, stem, f"shared.{group}", table_of(config))
    return main, second


def _names(module: nn.Module, theirs: str, ours: str, table: KeyMap) -> dict[str, str]:
    names = {}
    for parameter in module.state_dict():
        foreign = table.to_theirs(parameter)
        names[f"{theirs}.{foreign[0] if foreign else parameter}"] = f"{ours}.{parameter}"
    return names


def export_adapter(
    adapter: Adapter, name: str, architecture: Architecture, network: NetworkConfig, prefixed: bool
) -> dict[str, Tensor]:
    """An adapter's tensors under AdapterHub's names.

    Args:
        adapter: the adapter.
        name: its name.
        architecture: of its model.
        network: its model's numbers.
        prefixed: whether names begin with the architecture's prefix, as those of models with heads do.
    """
    tensors, prefix = adapter.state_dict(), architecture.stem if prefixed else ""
    names, second = tensor_names(adapter, name, architecture, network)
    everything = {**names, **{alias: ours for alias, ours in second.items() if ours in tensors}}
    return adapter.config.to_hub({prefix + theirs: tensors[ours].clone() for theirs, ours in everything.items()})


def import_adapter(
    adapter: Adapter,
    tensors: Mapping[str, Tensor],
    name: str,
    architecture: Architecture,
    network: NetworkConfig,
) -> None:
    """Give an adapter the values of a file's tensors. See `matched`."""
    adapter.load_state_dict(matched(adapter, tensors, name, architecture, network))


def matched(
    adapter: Adapter,
    tensors: Mapping[str, Tensor],
    name: str,
    architecture: Architecture,
    network: NetworkConfig,
) -> dict[str, Tensor]:
    """A file's tensors by the names of an adapter's, which has a place for each, and they for each of its own.

    Args:
        adapter: an adapter of the file's config.
        tensors: the file's tensors.
        name: the adapter's name in the file.
        architecture: of its model.
        network: its model's numbers.

    Raises:
        ValueError: tensors are missing, not known, or of another shape; all are named.
    """
    names, second = tensor_names(adapter, name, architecture, network)
    tensors = adapter.config.from_hub(dict(tensors))
    keys = place(tensors, names, second, name, architecture)
    state, found = adapter.state_dict(), {ours: tensors[key] for ours, key in keys.sources.items()}
    problems = [f"{key} has no place here" for key in keys.unexpected]
    for theirs, ours in names.items():
        if ours not in found:
            problems.append(f"{theirs} is not there")
        elif wrong := misfit(found[ours], state[ours].shape, state[ours].is_floating_point()):
            problems.append(f"{theirs} {wrong}")
    if problems:
        raise ValueError(f"the adapter {name!r} does not fit:\n  " + "\n  ".join(sorted(problems)))
    return found


class Placement(NamedTuple):
    """Which of a file's tensors goes where: its name by ours; those that come a second time; those with no place."""

    sources: dict[str, str]
    unused: list[str]
    unexpected: list[str]


def place(
    keys: Iterable[str], names: Mapping[str, str], second: Mapping[str, str], name: str, architecture: Architecture
) -> Placement:
    """Find the place of each of a file's tensors.

    Args:
        keys: the file's names.
        names, second: see `tensor_names`.
        name: the adapter's name in the file.
        architecture: of its model.
    """
    placed = Placement({}, [], [])
    for key in keys:
        bare = bare_name(key, architecture)
        if bare in names:
            placed.sources[names[bare]] = key
        elif bare in second or _is_copy(bare, name, names):
            placed.unused.append(key)
        else:
            placed.unexpected.append(key)
    return placed


def current_name(key: str) -> str:
    """The name as written since version 2."""
    return ".".join(_OLD_NAMES.get(part, part) for part in key.split("."))


def bare_name(key: str, architecture: Architecture) -> str:
    """The same without the model's prefix."""
    return current_name(key).removeprefix(architecture.stem)


def _is_copy(key: str, name: str, names: Iterable[str]) -> bool:
    """Whether it is one of the names under which the peer's files hold a tensor again.

    Of prefix tuning they hold copies for each layer; of what a pair's parts share, and of its invertible adapter, for
    the pair or its decoder.
    """
    if f".prefix_tuning.pool.prefix_tunings.{name}." in f".{key}":
        return True
    once = (f"shared_parameters.{name}.", f"invertible_adapters.{name}.")
    tails = [key[key.index(place) :] for place in once if place in key]
    return any(known.endswith(tail) for tail in tails for known in names)


@dataclass(frozen=True)
class AdapterFile:
    """What an `adapter_config.json` says.

    Attributes:
        name: the adapter's name in the file's tensor names.
        config: the method and its numbers.
    """

    name: str
    config: AdapterConfig


def adapter_json(
    name: str, adapter: Adapter, model_class: str, model_name: str, architecture: Architecture, width: int
) -> dict[str, Any]:
    """The content of `adapter_config.json`; beside theirs our config, where AdapterHub's library lacks its fields."""
    own, config = adapter.config.to_dict(), adapter.config.hub_config()
    return {
        **({} if config == own else {OWN_CONFIG: own}),
        "config": config,
        "hidden_size": width,
        "model_class": model_class,
        "model_name": model_name,
        "model_type": architecture.model_type,
        "name": name,
        "version": VERSION,
    }


def with_meta(content: dict[str, Any], meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """A file's content with entries of the caller's.

    Raises:
        ValueError: the file has such entries already.
    """
    taken = sorted(set(content) & set(meta or {}))
    if taken:
        raise ValueError(f"meta_dict has entries that the file has already: {', '.join(taken)}")
    return {**content, **(meta or {})}


def read_adapter_json(data: Mapping[str, Any], architecture: Architecture, width: int) -> AdapterFile:
    """What an `adapter_config.json` says, legacy versions brought up to date.

    Raises:
        ValueError: it is not AdapterHub's, or for another kind of model; every problem is named.
    """
    if "peft_type" in data:
        raise ValueError("this is a PEFT adapter (its config has a peft_type), not one in AdapterHub's format")
    problems = wrong_entries(data, architecture, width)
    fields, config = data.get(OWN_CONFIG, data.get("config")), None
    if isinstance(fields, Mapping) and fields:
        try:
            config = config_from_dict(_updated(dict(fields), data.get("version")))
        except ValueError as error:
            problems.append(str(error))
    if problems or config is None:
        raise ValueError("the adapter's config does not fit: " + "; ".join(problems))
    return AdapterFile(data["name"], config)


def wrong_entries(data: Mapping[str, Any], architecture: Architecture, width: int) -> list[str]:
    """What is wrong with the entries that the files of adapters and of fusions have in common, in words."""
    problems = []
    for key, kind, what in (("config", Mapping, "fields and values"), ("name", str, "a string")):
        if not data.get(key):
            problems.append(f"it has no {key!r}")
        elif not isinstance(data[key], kind):
            problems.append(f"its {key} is {data[key]!r}, not {what}")
    for key, ours in (("model_type", architecture.model_type), ("hidden_size", width)):
        if data.get(key) not in (None, ours):
            problems.append(f"its {key} is {data[key]!r}, but the model's is {ours!r}")
    return problems


def without_unused(file: AdapterFile, content: Mapping[str, Any], tensors: Iterable[str]) -> AdapterFile:
    """What a file says, without the invertible adapter that the first versions' task adapters name and do not have.

    Args:
        file: what its `adapter_config.json` says.
        content: the same, as it is there.
        tensors: the names of its tensors.
    """
    named = content.get("type") == "text_task" and file.config.get("inv_adapter") is not None
    places = (f".{place}.{file.name}." for place in ("invertible_adapters", "invertible_lang_adapters"))
    if not named or any(place in f".{key}" for place in places for key in tensors):
        return file
    return replace(file, config=file.config.replace(inv_adapter=None, inv_adapter_reduction_factor=None))


def _updated(config: dict[str, Any], version: Any) -> dict[str, Any]:
    """A config of an older version in today's terms."""
    old = config.get("non_linearity")
    if version is None and isinstance(old, str):
        config["non_linearity"] = _OLD_ACTIVATIONS.get(old, old)
    nested = config.pop("invertible_adapter", None)
    if isinstance(nested, Mapping):
        config["inv_adapter"] = nested.get("block_type")
        config["inv_adapter_reduction_factor"] = nested.get("reduction_factor")
    if config.get("architecture") == "lora" and "r" in config:
        written_by = _PEER_VERSION.match(version) if isinstance(version, str) else None
        if written_by and (int(written_by[1]), int(written_by[2])) < (1, 1):
            config["alpha"] = config["r"]  # these versions ignored alpha when they scaled
    return config
