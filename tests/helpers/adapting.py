"""Adapters of every registered method, with random weights, small enough for tiny models."""

from __future__ import annotations

from typing import Any

import torch

from adapterzoo.methods import PRESETS, AdapterConfig
from adapterzoo.methods.base import resolve_config
from tests.helpers.tiny import randomise

_SMALL = {"prefix_length": 3, "bottleneck_size": 8, "r": 4, "alpha": 6}
_STILL = ("dropout", "stochastic_depth")

MORE = {
    "lora_all": "lora[attn_matrices=['q', 'k', 'v'], intermediate_lora=True, output_lora=True]",
    "lora_gated": "lora[use_gating=True, init_weights='bert']",
    "prefix_longer": "prefix_tuning[prefix_length=5, use_gating=True, shared_gating=False]",
    "bn_everywhere": "double_seq_bn[cross_adapter=True, use_gating=True, ln_before=True, ln_after=True]",
    "bn_final": "seq_bn[original_ln_after=False, residual_before_ln='post_add', scaling='channel', mh_adapter=True, "
    "non_linearity='gelu']",
    "bn_left_out": "par_bn[leave_out=[0, 2], reduction_factor={'1': 4, 'default': 8}]",
}
"""What presets leave unused: every option that changes what is computed."""


def small(config: Any) -> AdapterConfig:
    """A config without dropout, and with small sizes where it has them."""
    config = resolve_config(config)
    still = {field: 0.0 for field in _STILL if field in config}
    sizes = {field: size for field, size in _SMALL.items() if field in config and field != "prefix_length"}
    if "prefix_length" in config:  # two lengths, so that prefixes of one batch differ
        sizes["prefix_length"] = min(config["prefix_length"], 5) if config["prefix_length"] < 30 else 3
    return config.replace(**still, **sizes)


def presets() -> dict[str, AdapterConfig]:
    """The presets, small, each under the first of its names."""
    found: dict[str, AdapterConfig] = {}
    for name, config in PRESETS.items():
        if config not in (PRESETS[known] for known in found):
            found[name] = small(config)
    return found


CONFIGS: dict[str, AdapterConfig] = {
    **presets(),
    **{name: small(text) for name, text in MORE.items()},
}
"""One config of every kind, by a name that may serve as an adapter's."""

KINDS = list(CONFIGS)


def add_random(model: Any, name: str, config: Any = None) -> None:
    """Add an adapter whose weights are all random.

    Args:
        model: the model.
        name: the adapter's name.
        config: its config; the one of that name in CONFIGS if None.
    """
    model.add_adapter(name, CONFIGS[name] if config is None else config)
    randomise(model.adapters[name])


def add_all(model: Any) -> Any:
    """Add one random adapter of every kind, under the kind's name, and return the model."""
    for name in KINDS:
        add_random(model, name)
    return model


def tensors_of(module: Any) -> dict[str, torch.Tensor]:
    """A copy of a module's state."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two states have the same names, dtypes and values, bit for bit."""
    return list(first) == list(second) and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )
