"""LoRA's variants compute what PEFT computes, on one layer with PEFT's weights; and start as their papers say."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from tests.helpers.comparing import assert_close
from tests.helpers.one_linear import D_IN, D_OUT, OneLinear
from tests.helpers.tiny import randomise


def peft_layer(layer, kind, **options):
    """PEFT's adapter around a copy of the layer, its tensors random."""
    peft = pytest.importorskip("peft")
    model = nn.Sequential(nn.Linear(D_IN, D_OUT, dtype=layer.dtype))
    model[0].load_state_dict(layer.linear.state_dict())
    with warnings.catch_warnings(action="ignore"):  # of PEFT's own making
        config = getattr(peft, kind)(target_modules=["0"], **options)
        wrapped = peft.get_peft_model(model, config, autocast_adapter_dtype=False).to(layer.dtype)
    found = wrapped.base_model.model[0]
    for name, parameter in wrapped.named_parameters():
        if ".base_layer." not in name:
            randomise(nn.ParameterList([parameter]), 0.5)
    return found


def same_gradients(ours, theirs):
    """Parameters of ours and of PEFT, in pairs, have the same gradients."""
    for name, mine, peers in zip(ours, ours.values(), theirs, strict=True):
        assert mine.grad is not None, name
        assert_close(mine.grad.reshape(peers.shape), peers.grad, name)


LORAS = {
    "lora": ({}, {}),
    "rslora": ({"use_rslora": True}, {"use_rslora": True}),
    "dora": ({"use_dora": True}, {"use_dora": True}),
    "rsdora": ({"use_dora": True, "use_rslora": True}, {"use_dora": True, "use_rslora": True}),
}


@pytest.mark.parametrize(("own", "theirs"), LORAS.values(), ids=list(LORAS))
def test_lora_and_dora_are_those_of_peft_in_outputs_and_gradients(own, theirs):
    layer = OneLinear()
    peer = peft_layer(layer, "LoraConfig", r=4, lora_alpha=7, **theirs)
    unit = layer.unit({"architecture": "lora", "r": 4, "alpha": 7, **own})
    weights = [peer.lora_A["default"].weight, peer.lora_B["default"].weight]
    if own.get("use_dora"):
        weights.append(peer.lora_magnitude_vector["default"].weight)
    mine = dict(unit.named_parameters())
    for parameter, other in zip(mine.values(), weights, strict=True):
        parameter.data.copy_(other.data.reshape(parameter.shape))
    found, wanted = layer.through(unit), peer(layer.x)
    assert_close(found, wanted)
    assert (found - layer.through()).abs().max() > 0.1
    for output in (found, wanted):
        output.square().sum().backward()
    same_gradients(mine, weights)


def test_pissa_is_that_of_peft_which_changes_the_frozen_weight():
    layer = OneLinear(dtype=torch.float32)
    peer = peft_layer(layer, "LoraConfig", r=3, lora_alpha=5, init_lora_weights="pissa")
    unit = layer.unit("lora[r=3, alpha=5, init_weights='pissa']", random=False)
    frozen = layer.linear.weight.clone()
    first = unit.scale * unit.get_buffer("initial_B") @ unit.get_buffer("initial_A")
    assert_close(peer.base_layer.weight, frozen - first)
    unit.lora_A.data.copy_(peer.lora_A["default"].weight.data)
    unit.lora_B.data.copy_(peer.lora_B["default"].weight.data)
    assert_close(layer.through(unit), peer(layer.x))
    assert torch.equal(layer.linear.weight, frozen)


def test_pissa_begins_with_the_best_approximation_of_its_rank():
    layer = OneLinear()
    unit = layer.unit("lora[r=2, alpha=3, init_weights='pissa']", random=False)
    start = unit.scale * unit.lora_B @ unit.lora_A
    values = torch.linalg.svdvals(layer.linear.weight)
    assert_close(torch.linalg.matrix_norm(layer.linear.weight - start), values[2:].norm())
    assert torch.equal(layer.through(unit), layer.through())


def test_an_orthogonal_start_has_factors_that_are_not_zero_and_a_product_that_is():
    unit = OneLinear(dtype=torch.float32).unit("lora[r=4, init_weights='orthogonal']", random=False)
    assert_close(unit.lora_B @ unit.lora_A, torch.zeros(D_OUT, D_IN))
    assert min(unit.lora_A.abs().max(), unit.lora_B.abs().max()) > 0.01


def test_vera_is_that_of_peft():
    layer = OneLinear()
    peer = peft_layer(layer, "VeraConfig", r=4, d_initial=0.1)
    unit = layer.unit("vera[r=4, alpha=4]")
    for name in ("A", "B"):
        getattr(unit.matrices, f"lora_{name}").copy_(getattr(peer, f"vera_{name}")["default"])
    theirs = [peer.vera_lambda_d["default"], peer.vera_lambda_b["default"]]
    unit.vera_D.data.copy_(theirs[0].data)
    unit.vera_B.data.copy_(theirs[1].data)
    found, wanted = layer.through(unit), peer(layer.x)
    assert_close(found, wanted)
    for output in (found, wanted):
        output.square().sum().backward()
    same_gradients({"d": unit.vera_D, "b": unit.vera_B}, theirs)


def test_ia3_is_that_of_peft():
    layer = OneLinear()
    peer = peft_layer(layer, "IA3Config", feedforward_modules=[])
    unit = layer.unit("ia3")
    unit.lora_B.data.copy_(peer.ia3_l["default"].data)
    found, wanted = layer.through(unit), peer(layer.x)
    assert_close(found, wanted)
    for output in (found, wanted):
        output.square().sum().backward()
    same_gradients({"l": unit.lora_B}, [peer.ia3_l["default"]])


def test_magnitudes_begin_as_the_norms_of_the_rows():
    layer = OneLinear()
    for config in ("dora", "dvora", "lora[use_dora=True, init_weights='pissa', r=2]"):
        unit = layer.unit(config, random=False)
        assert_close(unit.magnitude[:, 0], layer.linear.weight.norm(dim=1))
        assert torch.equal(layer.through(unit), layer.through())


def test_mtl_lora_weighs_its_matrices_by_a_softmax_that_no_weight_breaks():
    layer = OneLinear()
    unit = layer.unit("mtl_lora[n_up_projection=3, r=2, alpha=5, task_specific_matrix_type='linear']")
    share = torch.softmax(unit.weights / 0.05, 0)
    inner = layer.x @ unit.lora_A.T @ unit.task_specific
    law = layer.through() + 2.5 * sum(part * inner @ b.T for part, b in zip(share, unit.lora_B, strict=True))
    assert_close(layer.through(unit), law)
    unit.weights.data.copy_(torch.tensor([100.0, 1.0, 1.0]))
    assert_close(layer.through(unit), layer.through() + 2.5 * inner @ unit.lora_B[0].T)
