"""What LoRA's units say of merging: the merged weight and bias compute what the unit computes, in stacks, too."""

from __future__ import annotations

import pytest

from adapterzoo.methods import PRESETS
from adapterzoo.methods.lora_config import LoRAConfig
from tests.helpers.adapting import CONFIGS
from tests.helpers.comparing import assert_close
from tests.helpers.one_linear import OneLinear

FAMILY = {name: config for name, config in CONFIGS.items() if isinstance(config, LoRAConfig)}
GATED = [name for name, config in FAMILY.items() if config.use_gating]
MERGED = [name for name in FAMILY if name not in GATED]


@pytest.mark.parametrize("name", MERGED)
def test_a_merged_layer_computes_what_the_unit_computes(name):
    layer = OneLinear()
    unit = layer.unit(FAMILY[name])
    before = layer.linear.weight.clone()
    assert_close(layer.merged(unit), layer.through(unit), name)
    assert (layer.through(unit) - layer.through()).abs().max() > 0.01
    assert (layer.linear.weight == before).all()


@pytest.mark.parametrize("first", MERGED)
@pytest.mark.parametrize("second", ["lora", "ia3", "dora"])
def test_a_stack_is_merged_in_its_order(first, second):
    layer = OneLinear()
    units = [layer.unit(FAMILY[first]), layer.unit(FAMILY[second])]
    assert_close(layer.merged(*units), layer.through(*units))
    assert_close(layer.merged(*units[::-1]), layer.through(*units[::-1]))


@pytest.mark.parametrize("name", GATED)
def test_a_gate_cannot_be_merged(name):
    layer = OneLinear()
    with pytest.raises(ValueError, match=r"a gate \(use_gating\) cannot be merged: what it does depends on the input"):
        layer.merged(layer.unit(FAMILY[name]))


def test_every_preset_of_the_family_is_here():
    assert {name for name, config in PRESETS.items() if isinstance(config, LoRAConfig)} <= set(MERGED)
