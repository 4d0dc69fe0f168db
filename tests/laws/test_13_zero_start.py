"""Law 13: an adapter whose update starts at zero changes nothing at first; others do."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import LoRAConfig
from adapterzoo.methods import METHODS, PRESETS
from tests.helpers.adapting import CONFIGS
from tests.helpers.batches import batch_for
from tests.helpers.tiny import DISTINCT, tiny_model

ZERO = {"bottleneck": ["mam_adapter"], "bitfit": [None], "ln_tuning": [None]}
"""By method, the ways to initialise that make the update zero; None where there is one way."""

NEVER = ("bottleneck", "lora", "mtl_lora", "prefix_tuning", "prompt_tuning", "reft", "union")
"""Methods that move something at first wherever ZERO and LoRA's rule do not say otherwise."""

EVERY = {**PRESETS, **CONFIGS}


def starts_at_zero(config):
    """Whether the update is zero at first, as the config says."""
    if isinstance(config, LoRAConfig):
        return lora_starts_at_zero(config)
    return config.get("init_weights") in ZERO.get(method_of(config), []) and config.get("inv_adapter") is None


def method_of(config):
    return next(name for name, kind in METHODS.items() if isinstance(config, kind))


def lora_starts_at_zero(config):
    """The same for LoRA's variants: (IA)³ begins with the factor 1, VeRA's last vector is a number of the config."""
    if config.composition_mode == "scale":
        return config.init_weights == "ia3" and config.alpha == 1 and not config.use_gating
    return config.vera_b == 0 or config.init_weights in ("lora", "pissa")


STILL = [name for name, config in EVERY.items() if starts_at_zero(config)]
MOVING = [name for name in EVERY if name not in STILL and method_of(EVERY[name]) in NEVER]


def before_and_after(architecture, config):
    model = tiny_model(architecture)
    batch = batch_for(model)
    with torch.no_grad():
        bare = model(**batch).last_hidden_state
        model.add_adapter("new", config)
        model.set_active_adapters("new")
        return bare, model(**batch).last_hidden_state


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_an_update_of_zero_changes_no_bit(architecture, name):
    assert torch.equal(*before_and_after(architecture, EVERY[name]))


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_any_other_start_is_seen(architecture, name):
    assert not torch.equal(*before_and_after(architecture, EVERY[name]))


def test_there_are_methods_of_both_kinds():
    assert {"lora", "ia3", "dvora", "mtl_lora", "lora_by_pattern", "par_bn"} <= set(STILL)
    assert {"seq_bn", "prefix_tuning"} <= set(MOVING)
