"""Adapters, fusions and heads that lie among a model's own tensors, as AdapterHub's library saves a whole model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from adapterzoo.conversion.facts import weights

_ADAPTERS = (
    "adapters",
    "loras",
    "prefix_tunings",
    "prefix_gates",
    "refts",
    "prompt_tunings",
    "shared_parameters",
    "invertible_adapters",
    "attention_text_task_adapters",
    "attention_text_lang_adapters",
    "layer_text_task_adapters",
    "layer_text_lang_adapters",
    "invertible_lang_adapters",
)
"""Parts of tensors' names that an adapter's name follows."""


def inside(config: Mapping[str, Any], tensors: Mapping[str, Tensor], over: Sequence[str]) -> dict[str, Any]:
    """What config.json and the names of tensors tell of adapters, fusions and heads within a model's own file.

    Args:
        config: what config.json holds.
        tensors: the model's tensors.
        over: the names of those that are not the network's.

    Returns:
        For each kind of which there are any, what is told of each: its name, what it is, its tensors' names under
        "holds", and how many parameters these are. Of an entry of another shape than that library's, nothing.
    """
    said = _mapping(config, "adapters")
    configs, heads = _mapping(said, "config_map"), _mapping(config, "prediction_heads")
    fused = _mapping(said, "fusions") or {name: None for name in _names(config.get("adapter_fusion_models"))}
    told = {
        "adapters": [
            {"name": name, "method": _method(configs, given)} | _holds(tensors, over, _ADAPTERS, name)
            for name, given in _mapping(said, "adapters").items()
        ],
        "fusions": [
            {"name": name, "fuses": _fuses(said, name)} | _holds(tensors, over, ("adapter_fusion_layer",), name)
            for name in fused
        ],
        "heads": [
            {"name": name, "type": _mapping(heads, name).get("head_type")} | _holds(tensors, over, ("heads",), name)
            for name in heads
        ],
    }
    return {kind: several for kind, several in told.items() if several}


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def _names(given: Any) -> Iterable[str]:
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def _method(configs: Mapping[str, Any], given: Any) -> str | None:
    """The method of an adapter: by the config that is meant, or the name that stands in its place.

    Version 1 gives the type of the adapter, too: ["text_task", "pfeiffer"].
    """
    key = given[-1] if isinstance(given, list) and given else given
    config = _mapping(configs, key) if isinstance(key, str) else {}
    if not config:
        return key if isinstance(key, str) else None
    return str(config.get("architecture") or "bottleneck")


def _fuses(said: Mapping[str, Any], name: str) -> list[str]:
    return list(_names(_mapping(said, "fusion_name_map").get(name))) or name.split(",")


def _holds(tensors: Mapping[str, Tensor], over: Iterable[str], places: Sequence[str], name: str) -> dict[str, Any]:
    """The tensors of one of them."""
    place = re.compile(rf"(?:.*\.)?(?:{'|'.join(places)})\.{re.escape(name)}\..*", re.DOTALL)
    own = sorted(key for key in over if place.fullmatch(key))
    return {"holds": own, **weights(tensors, own)}
