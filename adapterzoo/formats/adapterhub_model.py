"""Adapters, fusions and heads inside a model's own files, as AdapterHub's library saves a whole model.

Its `config.json` describes them under the entries below, and its `model.safetensors` holds their tensors by the names
that AdapterHub's files of each have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.core.fields import fits
from adapterzoo.formats import adapterhub
from adapterzoo.formats.content import Content
from adapterzoo.formats.lazy import some
from adapterzoo.fusion import FUSIONS
from adapterzoo.methods.base import PRESETS
from adapterzoo.store import FileError

ADAPTERS, HEADS, OLD_FUSIONS, OLD_FUSION_CONFIG = (
    "adapters",
    "prediction_heads",
    "adapter_fusion_models",
    "adapter_fusion",
)
ENTRIES = (ADAPTERS, HEADS, OLD_FUSIONS, OLD_FUSION_CONFIG)
"""What `config.json` has of them; the last two up to version 2."""

KINDS = {"adapters": "adapter", "fusions": "fusion", "heads": "head"}
"""The kinds of parts, and what `Content` calls each."""

_EMBEDDINGS_AGAIN = ("prompt_tuning", "base_model_embeddings")
_FUSION, _HEAD, _SHARED = "adapter_fusion_layer", "heads", "shared_parameters"


class Inside(NamedTuple):
    """A model's files, taken apart.

    Attributes:
        config: what `config.json` says of the model itself.
        tensors: the model's own tensors.
        parts: by kind ("adapters", "fusions", "heads") and name, each as its own files would hold it.
    """

    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    parts: dict[str, dict[str, Content]]


def is_inside(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` tells of adapters, fusions or heads inside."""
    told = config.get(ADAPTERS)
    return bool((told.get("adapters") or told.get("fusions")) if isinstance(told, Mapping) else told) or any(
        config.get(entry) for entry in (HEADS, OLD_FUSIONS)
    )


def split(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Inside:
    """Take a model's files apart.

    Args:
        config: what `config.json` holds.
        tensors: the tensors by the file's names; only names are looked at.

    Raises:
        FileError: the entries are not what they should be; every problem is named.
    """
    problems: list[str] = []
    told = _checked(config.get(ADAPTERS) or {}, Mapping[str, object], ADAPTERS, problems)
    configs = {
        "adapters": _adapters(told, problems),
        "fusions": {**_fusions(told, problems), **_old_fusions(config, problems)},
        "heads": _checked(config.get(HEADS) or {}, Mapping[str, Mapping[str, object]], HEADS, problems),
    }
    if problems:
        raise FileError("config.json does not tell what is inside the model: " + "; ".join(problems))
    keys: dict[tuple[str, str], list[str]] = {(kind, name): [] for kind in configs for name in configs[kind]}
    own = []
    for key in tensors:
        owner = _owner(key, configs)
        if owner is None:
            own.append(key)
        elif owner in keys:
            keys[owner].append(key)
    common = _common(config)
    parts = {
        kind: {
            name: Content(
                KINDS[kind], "adapterhub", {**common, **content, "name": name}, some(tensors, keys[kind, name])
            )
            for name, content in (_json(kind, found).items())
        }
        for kind, found in configs.items()
    }
    rest = {key: value for key, value in config.items() if key not in ENTRIES}
    return Inside(rest, some(tensors, own), parts)


def _common(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that the files of every part have. The library does not say which version of it wrote a model."""
    return {
        "model_class": next(iter(config.get("architectures") or []), None),
        "model_name": config.get("_name_or_path"),
        "model_type": config.get("model_type"),
        "version": adapterhub.VERSION,
    }


def _json(kind: str, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is said of each part, as its JSON file has it."""
    return {name: dict(told) if kind == "fusions" else {"config": dict(told)} for name, told in found.items()}


def _checked(value: Any, kind: Any, what: str, problems: list[str]) -> Any:
    """The value, if it is of that type; else an empty one, and a problem more."""
    if fits(value, kind):
        return value
    problems.append(f"{what} is {value!r}")
    return {}


def _adapters(told: Mapping[str, Any], problems: list[str]) -> dict[str, Mapping[str, Any]]:
    """The config of each adapter: of its own, or of a preset that it names."""
    known = _checked(told.get("config_map") or {}, Mapping[str, object], "config_map", problems)
    found: dict[str, Mapping[str, Any]] = {}
    for name, said in _checked(told.get("adapters") or {}, Mapping[str, object], "adapters", problems).items():
        identifier = (said[1:] or said)[0] or said[0] if isinstance(said, list) and said else said  # [type, config]
        config = known.get(identifier, identifier) if isinstance(identifier, str) else identifier
        if isinstance(config, str) and config in PRESETS:
            config = PRESETS[config].to_dict()
        if isinstance(config, Mapping):
            found[name] = config
        else:
            problems.append(f"the adapter {name!r} has no config, but {said!r}")
    return found


def _fusions(told: Mapping[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    """What is said of each fusion: its config, and the adapters that it is for."""
    known = _checked(told.get("fusion_config_map") or {}, Mapping[str, object], "fusion_config_map", problems)
    names = _checked(told.get("fusion_name_map") or {}, Mapping[str, list[str]], "fusion_name_map", problems)
    fusions = _checked(told.get("fusions") or {}, Mapping[str, str], "fusions", problems)
    return {
        name: _fusion(name, names.get(name, name.split(",")), known.get(said, said), problems)
        for name, said in fusions.items()
    }


def _old_fusions(config: Mapping[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    """The same as said up to version 2: adapters' names, and one config for all."""
    listed = _checked(config.get(OLD_FUSIONS) or [], list[list[str] | str], OLD_FUSIONS, problems)
    made = [one.split(",") if isinstance(one, str) else one for one in listed]
    said = config.get(OLD_FUSION_CONFIG) or "dynamic"
    return {",".join(names): _fusion(",".join(names), names, said, problems) for names in made}


def _fusion(name: str, adapters: list[str], said: Any, problems: list[str]) -> dict[str, Any]:
    """What is said of one fusion. Of texts, only a preset's name is a config; others could name files."""
    if isinstance(said, str) and said in FUSIONS:
        said = FUSIONS[said].to_dict()
    if not isinstance(said, Mapping):
        problems.append(f"the fusion {name!r} has no config, but {said!r}")
    return {"adapter_names": adapters, "config": said}


def _owner(key: str, names: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """The kind and name of the part that a tensor is of; None for the model's own.

    What the library holds a second time, under a name that no part has, is nobody's: ("", "").
    """
    parts = adapterhub.current_name(key).split(".")
    if parts[0] == _HEAD and parts[1:2] and parts[1] in names["heads"]:
        return "heads", parts[1]
    for place, name in pairwise(parts):
        if place == _FUSION and name in names["fusions"]:
            return "fusions", name
        if place in adapterhub.PLACES and name in names["adapters"]:
            return "adapters", name
        if (place, name) == _EMBEDDINGS_AGAIN:
            return "", ""
        if place == _SHARED and "," in name and all(one in names["adapters"] for one in name.split(",")):
            return "", ""
    return None


def each(inside: Inside) -> Iterator[tuple[str, str, Content]]:
    """Every part, with its kind and name."""
    for kind, parts in inside.parts.items():
        for name, content in parts.items():
            yield kind, name, content
