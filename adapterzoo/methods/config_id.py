"""AdapterHub's short names for configs: what its files call `config_id`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from adapterzoo.methods.base import AdapterConfig

_UNSAID: Mapping[str, Any] = {
    "phm_layer": True,
    "phm_dim": 4,
    "factorized_phm_W": True,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "factorized_phm_rule": False,
    "phm_c_init": "normal",
    "phm_init_range": 0.0001,
    "learn_phm": True,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "phm_rank": 1,
    "phm_bias": True,
    "init_weights": "bert",
    "scaling": 1.0,
}
"""Values that the name says nothing of, for configs to keep the names that they had before there were these fields."""


def get_adapter_config_hash(config: Mapping[str, Any], length: int = 16, ignore_params: Collection[str] = ()) -> str:
    """AdapterHub's name of a config: the first digits of the SHA-1 of its fields as JSON.

    Fields that are false, empty or 0, and those with the values above, are left out first. So configs that differ in
    such fields alone have one name (a SeqBnConfig with and without `phm_layer`): no identity, but what files call it.

    Args:
        config: the config, or its fields.
        length: how many digits.
        ignore_params: fields to leave out.
    """
    said = _minimal({key: value for key, value in _fields(config).items() if key not in ignore_params})
    said = {key: value for key, value in said.items() if key not in _UNSAID or value != _UNSAID[key]}
    return hashlib.sha1(json.dumps(said, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:length]


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's fields as AdapterHub's library has them; those of a union with their member's number in front."""
    if not isinstance(config, AdapterConfig):
        return dict(config)
    fields = config.to_dict()
    members = fields.get("configs", [])
    return {f"{n}.{key}": value for n, one in enumerate(members) for key, value in one.items()} if members else fields


def _minimal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _minimal(inner) for key, inner in value.items() if inner}
    return value
