"""Adapters of every registered method, with random weights, small enough for tiny models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from adapterzoo.methods import PRESETS, AdapterConfig
from adapterzoo.methods.base import resolve_config
from adapterzoo.methods.union import ConfigUnion
from tests.helpers.tiny import randomise

_SMALL = {"bottleneck_size": 8, "r": 4, "alpha": 6, "suffix_positions": 2}
_SMALL |= {"n_up_projection": 2, "weights_sharpness": 0.5}  # of a softmax over one, the gradient is zero
_LENGTHS = ("prefix_length", "prompt_length")
_STILL = ("dropout", "stochastic_depth")

MORE = {
    "lora_all": "lora[attn_matrices=['q', 'k', 'v'], intermediate_lora=True, output_lora=True]",
    "lora_gated": "lora[use_gating=True, init_weights='bert']",
    "lora_by_pattern": "lora[sites=['token', 'attn.out', 'cross.k', 'mlp.*'], rank_pattern={'mlp.*': 3}, "
    "alpha_pattern={'*.0.*': 2}, use_rslora=True, init_weights='pissa']",
    "ia3_gated": "ia3[use_gating=True, output_lora=True, input_sites='mlp.down']",
    "vera_all": "vera[intermediate_lora=True, output_lora=True]",
    "mtl_lora_linear": "mtl_lora[n_up_projection=3, task_specific_matrix_type='linear', use_gating=True]",
    "prefix_longer": "prefix_tuning[prefix_length=5, use_gating=True, shared_gating=False]",
    "bn_everywhere": "double_seq_bn[cross_adapter=True, use_gating=True, ln_before=True, ln_after=True]",
    "bn_final": "seq_bn[original_ln_after=False, residual_before_ln='post_add', scaling='channel', mh_adapter=True, "
    "non_linearity='gelu']",
    "reft_tied": "noreft[tied_weights=True, non_linearity='relu', prefix_positions=1]",
    "prompt_after_bos": "prompt_tuning[combine='prefix_after_bos', prompt_length=4]",
    "phm_shared": "compacter[shared_W_phm=True, factorized_phm_rule=True, phm_rank=2, reduction_factor=4, "
    "phm_c_init='uniform']",
    "phm_own": "compacter++[shared_phm_rule=False, factorized_phm_W=False, phm_bias=False, ln_before=True]",
    "bn_glow": "par_bn[inv_adapter='glow', inv_adapter_reduction_factor=2]",
    "bn_left_out": "par_bn[leave_out=[0, 2], reduction_factor={'1': 4, 'default': 8}]",
}
"""What presets leave unused: every option that changes what is computed."""


def small(config: Any) -> AdapterConfig:
    """A config without dropout, and with small sizes where it has them."""
    config = resolve_config(config)
    if isinstance(config, ConfigUnion):
        return ConfigUnion(*map(small, config.configs))
    still = {field: 0.0 for field in _STILL if field in config}
    sizes = {field: size for field, size in _SMALL.items() if field in config}
    if config.get("composition_mode") == "scale":  # whose r is 1, as is its α, so that nothing changes at first
        del sizes["r"], sizes["alpha"]
    if config.get("reduction_factor", {}) and not isinstance(config["reduction_factor"], Mapping):
        sizes["reduction_factor"] = 4  # of two inner numbers, ReLU may leave none
    for field in _LENGTHS:
        if field in config:  # two lengths, so that prefixes of one batch differ
            sizes[field] = min(config[field], 5) if config[field] < 10 else 3
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


def add_random(model: Any, name: str, config: Any = None, std: float = 0.2) -> None:
    """Add an adapter whose weights are all random.

    Args:
        model: the model.
        name: the adapter's name.
        config: its config; the one of that name in CONFIGS if None.
        std: how far its weights are from what they would start with.
    """
    model.add_adapter(name, CONFIGS[name] if config is None else config)
    randomise(model.adapters[name], std)


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
