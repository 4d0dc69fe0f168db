"""PEFT's `adapter_config.json` and our configs, both ways; and what a file's tensors are called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from adapterzoo.archs.base import Architecture
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.registry import listing
from adapterzoo.formats.peft import low_rank, norms, prompts, vectors
from adapterzoo.formats.peft.fields import Fields
from adapterzoo.formats.peft.kinds import KINDS, Kind
from adapterzoo.formats.peft.places import Places
from adapterzoo.methods.base import AdapterConfig

METHODS_IN = (low_rank, vectors, norms, prompts)
"""The files whose methods are registered in KINDS."""

VERSION = "0.21.2"
"""The version of the format that is written."""

BARE = "FEATURE_EXTRACTION"
"""The task of adapters of classes without a head."""


@lru_cache(maxsize=64)
def places_of(architecture: Architecture, network: NetworkConfig) -> Places:
    """A network's modules by HF's names."""
    return Places(architecture, network)


def kind_of(content: Mapping[str, Any]) -> Kind:
    """The method of a file.

    Raises:
        ValueError: it has none that can be had here.
    """
    return KINDS[content.get("peft_type")]  # type: ignore[index]  # whatever it is, the registry tells


def kind_for(config: AdapterConfig) -> tuple[str, Kind]:
    """The method that holds a config of ours, and its `peft_type`.

    Raises:
        ValueError: PEFT has none that computes the same.
    """
    found = next(((name, kind) for name, kind in KINDS.items() if kind.takes(config)), None)
    if found is None:
        what = config.architecture or "bottleneck"
        raise ValueError(f"PEFT has nothing that computes what {config!r} does ({what}); it has {listing(KINDS)}")
    return found


def read_config(
    content: Mapping[str, Any], architecture: Architecture, network: NetworkConfig, prefixed: bool | None = None
) -> AdapterConfig:
    """The config that computes what a PEFT config says.

    Args:
        content: what `adapter_config.json` holds.
        architecture: of the model.
        network: the model's numbers.
        prefixed: whether the adapter is of a class with a head, whose modules' names begin with the architecture's
            prefix; told by the content if None.

    Raises:
        ValueError: it cannot be had, or not exactly; every reason is told.
    """
    stem = architecture.stem if (_has_head(content, architecture) if prefixed is None else prefixed) else ""
    return kind_of(content).read(Fields(content), places_of(architecture, network), stem)


def _has_head(content: Mapping[str, Any], architecture: Architecture) -> bool:
    """Whether a config is of a class with a head, as far as it says."""
    task, base = content.get("task_type"), base_class(content)
    return base != architecture.class_name() if base is not None else task not in (None, BARE)


def base_class(content: Mapping[str, Any]) -> str | None:
    """The class that a config says the adapter is of; None if it says none."""
    mapping = content.get("auto_mapping")
    found = mapping.get("base_model_class") if isinstance(mapping, Mapping) else None
    return found if isinstance(found, str) else None


def write_config(config: AdapterConfig, architecture: Architecture, network: NetworkConfig) -> dict[str, Any]:
    """What PEFT's `adapter_config.json` says of a config, but for what it says of the model and its head.

    Args:
        config: ours.
        architecture: of the model.
        network: the model's numbers.

    Raises:
        ValueError: PEFT has nothing that computes the same; the message says why.
    """
    name, kind = kind_for(config)
    fields = kind.write(kind.told(config), places_of(architecture, network))
    return {
        **fields,
        "peft_type": name,
        "peft_version": VERSION,
        "inference_mode": True,
        "task_type": None,
        "auto_mapping": None,
        "modules_to_save": None,
        "base_model_name_or_path": None,
        "revision": None,
    }


def tensor_names(config: AdapterConfig, architecture: Architecture, network: NetworkConfig) -> dict[str, str]:
    """Our name, in an adapter's state, of each of a PEFT file's tensors.

    Theirs are without what stands before modules' names: "base_model.model." and the architecture's prefix, if any.

    Args:
        config: a config that `read_config` gave, or that `write_config` takes.
        architecture: of the model.
        network: the model's numbers.

    Raises:
        ValueError: PEFT has nothing that computes the same.
    """
    kind = kind_for(config)[1]
    return {slot.theirs: slot.ours for slot in kind.slots(config, places_of(architecture, network))}
