"""Law 7: merged adapters compute what they do unmerged, and taking them out restores every bit."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import Stack
from adapterzoo.core.sites import sites_of
from tests.helpers.adapting import CONFIGS, KINDS, add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_same, leaves
from tests.helpers.tiny import DISTINCT, tiny_model

PLAIN = tiny_model("bert")


def mergeable(kind):
    """Whether the units of a kind say what they do to a weight."""
    PLAIN.add_adapter("probe", CONFIGS[kind], overwrite_ok=True)
    adapter = PLAIN.adapters["probe"]
    units = [adapter.module_at(site) for site in sites_of(PLAIN.base.config)]
    gated = any(getattr(unit, "gate", None) is not None for unit in units)
    return not gated and all(hasattr(unit, "merged") for unit in units if unit is not None)


MERGEABLE = [kind for kind in KINDS if mergeable(kind)]


def run(model, batch):
    with torch.no_grad():
        return model(**batch)


def close(found, expected):
    """Asserts that outputs agree."""
    first, second = leaves(found), leaves(expected)
    assert list(first) == list(second)
    for name, tensor in second.items():
        assert_close(first[name], tensor, name)


def merged_or_refused(model, setup):
    """Merge; where a weight has another use or a bias is not there, that is said and nothing changed."""
    before = tensors_of(model)
    try:
        model.merge_adapter(setup)
    except ValueError as error:
        assert "too" in str(error) or "no bias" in str(error), error
        assert same_bits(tensors_of(model), before) and model.merged_adapters == ()
        return False
    return True


def test_methods_that_can_be_merged_are_found():
    assert {"lora", "dora", "ia3", "vera", "mtl_lora", "bitfit", "ln_tuning"} <= set(MERGEABLE)


@pytest.mark.parametrize("kind", MERGEABLE)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_merged_is_unmerged_and_reset_restores_the_bits(architecture, kind):
    model = tiny_model(architecture)
    add_random(model, kind)
    batch, before = batch_for(model), tensors_of(model)
    bare = run(model, batch)
    model.set_active_adapters(kind)
    expected = run(model, batch)
    if not merged_or_refused(model, kind):
        return
    assert model.active_adapters == Stack(kind) and model.merged_adapters == (kind,)
    close(run(model, batch), expected)
    model.set_active_adapters(None)
    close(run(model, batch), expected)
    model.merge_adapter(kind)
    model.reset_adapter()
    model.reset_adapter()
    assert same_bits(tensors_of(model), before) and model.merged_adapters == ()
    assert_same(run(model, batch), bare)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_stack_is_merged_in_its_order(architecture):
    kinds = [kind for kind in MERGEABLE if kind not in ("bitfit", "lora_by_pattern")]
    model = tiny_model(architecture).double()
    for kind in kinds:
        add_random(model, kind)
    batch, before = batch_for(model), tensors_of(model)
    for names in (kinds, kinds[::-1]):
        model.set_active_adapters(Stack(*names))
        expected = run(model, batch)
        model.merge_adapter(Stack(names[0], Stack(*names[1:3])))
        model.merge_adapter(names)
        assert model.merged_adapters == tuple(names)
        close(run(model, batch), expected)
        whole = tensors_of(model)
        model.reset_adapter()
        assert same_bits(tensors_of(model), before)
        model.merge_adapter(names)
        assert same_bits(tensors_of(model), whole), "one after the other is all at once"
        model.reset_adapter()


@pytest.mark.parametrize("architecture", DISTINCT)
def test_others_act_on_top_of_what_is_merged(architecture):
    model = tiny_model(architecture)
    for kind in ("lora", "ia3", "seq_bn", "prefix_tuning"):
        add_random(model, kind)
    batch = batch_for(model)
    setups = [Stack("lora", "ia3", "seq_bn"), Stack("lora", "ia3", "prefix_tuning")]
    expected = []
    for setup in setups:
        model.set_active_adapters(setup)
        expected.append(run(model, batch))
    model.merge_adapter(["lora", "ia3"])
    for setup, output in zip(setups, expected, strict=True):
        model.set_active_adapters(setup)
        close(run(model, batch), output)
        model.set_active_adapters(setup.last())
        close(run(model, batch), output)
    rows = len(batch["input_ids"])
    found = run_by_name(model, batch, ["seq_bn", "prefix_tuning"] * (rows // 2))
    assert_close(found[::2], expected[0][0][::2])
    assert_close(found[1::2], expected[1][0][1::2])


def run_by_name(model, batch, names):
    with torch.no_grad():
        return model(**batch, adapter_names=names)[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    model = tiny_model("bert")
    for name in ("a", "b"):
        add_random(model, name, CONFIGS["lora"])
    wide = tiny_model("bert")
    wide.load_state_dict(model.to(dtype).state_dict(), strict=False)
    before = tensors_of(model)
    model.merge_adapter(["a", "b"])
    for site in sites_of(model.base.config):
        units = [model.adapters[name].module_at(site) for name in ("a", "b")]
        if units[0] is not None:
            exact = wide.base.weight_of(site)[0]
            for unit in units:
                exact = exact + unit.float().delta()
            assert torch.equal(model.base.weight_of(site)[0], exact.to(dtype))
    model.reset_adapter()
    kept = {name: tensor for name, tensor in tensors_of(model).items() if name.startswith("base.")}
    assert same_bits(kept, {name: before[name] for name in kept})


@pytest.mark.parametrize("below", ["lora", "bitfit", "ln_tuning"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_merged_acts_as_it_does_beside_what_is_not(kind, below):
    model = tiny_model("bert").double()
    for name, config in (("below", CONFIGS[below]), ("above", CONFIGS[kind])):
        add_random(model, name, config)
    batch = batch_for(model)
    model.set_active_adapters(Stack("below", "above"))
    expected = run(model, batch)
    model.merge_adapter("below")
    close(run(model, batch), expected)
    if kind in MERGEABLE:
        model.merge_adapter("above")
        close(run(model, batch), expected)
    model.reset_adapter()
    assert_same(run(model, batch), expected)
