"""The product of oneDNN, where it is chosen, is `F.linear` in everything but the last bits."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from adapterzoo import AutoAdapterModel, BertConfig
from adapterzoo.nn import linear as module
from adapterzoo.nn.activations import ACTIVATIONS
from adapterzoo.nn.linear import linear

pytestmark = pytest.mark.skipif(module.ONEDNN is None, reason="F.linear is the quicker one on this processor")


@pytest.fixture
def tensors() -> tuple[Tensor, Tensor, Tensor]:
    """x, a weight that is large enough, and a bias."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(size, generator=generator) for size in ((3, 5, 384), (1024, 384), (1024,)))


def test_it_is_chosen_for_frozen_weights(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = tensors
    assert module._fits(x, weight, bias) and not module._fits(x, weight.requires_grad_(), bias)


def test_values_and_both_gradients_are_those_of_linear(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = tensors
    x.requires_grad_()
    found = []
    for function in (linear, F.linear):
        y = function(x, weight, bias)
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum(), x)
        found.append((y, first, second))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours / theirs.abs().max(), theirs / theirs.abs().max(), rtol=0, atol=2e-6)


@torch.no_grad()
def test_an_activation_in_one_step_with_the_product_is_the_same(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = tensors
    assert module._fits(x, weight, bias)
    for function in (*module.FUSED, ACTIVATIONS["quick_gelu"]):
        for packed in (None, module.Packed()):
            found = module.activated(x, weight, bias, function, packed)
            torch.testing.assert_close(found, function(F.linear(x, weight, bias)), rtol=1e-4, atol=1e-4)


def test_an_activation_has_its_gradient(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = tensors
    x.requires_grad_()
    (ours,) = torch.autograd.grad(module.activated(x, weight, bias, ACTIVATIONS["gelu"]).sum(), x)
    (expected,) = torch.autograd.grad(F.gelu(F.linear(x, weight, bias)).sum(), x)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-3)


def test_transforms_see_through_it(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = tensors
    tangent = torch.ones_like(x)
    expected = F.linear(tangent, weight)
    torch.testing.assert_close(torch.func.jvp(lambda z: linear(z, weight, bias), (x,), (tangent,))[1], expected)
    with forward_ad.dual_level():
        dual = linear(forward_ad.make_dual(x, tangent), weight, bias)
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, expected)
    torch.testing.assert_close(torch.func.vmap(lambda z: linear(z, weight, bias))(x), F.linear(x, weight, bias))


def test_autocast_is_obeyed(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(*tensors).dtype is torch.bfloat16


def test_packed_weights_give_the_same_and_follow_changes(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = tensors
    packed = module.Packed()
    torch.testing.assert_close(linear(x, weight, bias, packed), F.linear(x, weight, bias), rtol=0, atol=1e-4)
    first = packed.of(weight)
    assert packed.of(weight) is first
    weight.mul_(2)
    torch.testing.assert_close(linear(x, weight, bias, packed), F.linear(x, weight, bias), rtol=0, atol=2e-4)
    assert packed.of(weight) is not first
    x.requires_grad_()
    (grad,) = torch.autograd.grad(linear(x, weight, bias, packed).sum(), x)
    torch.testing.assert_close(grad, weight.sum(0).expand_as(grad), rtol=0, atol=1e-3)


def test_a_packed_model_is_the_same_model() -> None:
    config = BertConfig(
        hidden_size=384, num_hidden_layers=1, num_attention_heads=12, intermediate_size=768, vocab_size=99
    )
    model = AutoAdapterModel.from_config(config).eval()
    model.add_adapter("a", "lora")
    model.set_active_adapters("a")
    ids, before = torch.arange(4, 20)[None], {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        plain = model(ids).last_hidden_state
        assert model.pack_weights() is model
        torch.testing.assert_close(model(ids).last_hidden_state, plain, rtol=0, atol=1e-5)
        assert model.base.encoder[0].mlp.up.packed._kept is not None
        torch.testing.assert_close(copy.deepcopy(model)(ids).last_hidden_state, plain, rtol=0, atol=1e-5)
        model.merge_adapter("a")
        model.reset_adapter()
        torch.testing.assert_close(model(ids).last_hidden_state, plain, rtol=0, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.pack_weights(False).base.encoder[0].mlp.up.packed is None


@pytest.mark.skipif(torch.bfloat16 not in module.DTYPES, reason="this processor has no products of bfloat16")
def test_bfloat16_has_the_same_values_and_gradients(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = (tensor.bfloat16() for tensor in tensors)
    x.requires_grad_()
    assert module._fits(x, weight, bias)
    found = []
    for function in (linear, F.linear):
        y = function(x, weight, bias)
        found.append((y, torch.autograd.grad(y.float().pow(2).sum(), x)[0]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02 * float(theirs.detach().abs().max()))
