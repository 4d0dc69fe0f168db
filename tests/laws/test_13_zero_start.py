"""Law 13: an adapter whose update starts at zero changes nothing at first; others do."""

from __future__ import annotations

import pytest
import torch

from adapterzoo.methods import METHODS, PRESETS
from tests.helpers.adapting import CONFIGS
from tests.helpers.batches import batch_for
from tests.helpers.tiny import DISTINCT, tiny_model

ZERO = {"lora": ["lora"], "bottleneck": ["mam_adapter"]}
"""By method, the ways to initialise that make the last matrix zero."""

EVERY = {**PRESETS, **CONFIGS}


def starts_at_zero(config):
    """Whether the update is zero at first, as the config says."""
    method = next(name for name, kind in METHODS.items() if isinstance(config, kind))
    return config.get("init_weights") in ZERO.get(method, [])


STILL = [name for name, config in EVERY.items() if starts_at_zero(config)]
MOVING = [name for name in EVERY if name not in STILL]


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
    assert {"lora", "par_bn"} <= set(STILL)
    assert {"seq_bn", "prefix_tuning"} <= set(MOVING)
