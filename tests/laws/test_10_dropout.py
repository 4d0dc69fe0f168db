"""Law 10: dropout as it is drawn on CPUs is dropout, and attention with it is on average attention without."""

from __future__ import annotations

import pytest
import torch

from adapterzoo.core.run import KV
from adapterzoo.nn.attention import attend
from adapterzoo.nn.by_rows import attend_rows
from adapterzoo.nn.dropout import dropped, dropped_attention, dropped_product
from adapterzoo.nn.mask import Mask
from tests.helpers.comparing import assert_close

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
DRAWS = 4000


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_each_number_is_dropped_by_chance_and_the_rest_is_larger(chance, dtype):
    x = torch.ones(1001, 101, dtype=dtype)
    y = dropped(x, chance)
    assert y.dtype == dtype
    kept = y != 0
    torch.testing.assert_close(y[kept].double(), torch.full_like(y[kept].double(), 1 / (1 - chance)), rtol=4e-3, atol=0)
    assert abs(kept.double().mean() - (1 - chance)) < 0.01
    for place in range(4):  # of the four that one drawn word decides over
        assert abs(kept.flatten()[place::4].double().mean() - (1 - chance)) < 0.015
    assert abs((kept.flatten()[:-1] & kept.flatten()[1:]).double().mean() - (1 - chance) ** 2) < 0.015


def test_nothing_is_dropped_outside_of_training_or_without_a_chance():
    x = torch.randn(5, 3)
    assert dropped(x, 0.5, False) is x
    assert torch.equal(dropped(x, 0.0), x)
    assert torch.equal(dropped_product(x, 0.0, x.mT), x @ x.mT)
    assert not dropped(x, 1.0).any()
    assert dropped(torch.randn(0, 3), 0.5).shape == (0, 3)
    with pytest.raises(ValueError, match="probability"):
        dropped(x, 1.5)


def test_a_seed_draws_the_same_again_and_the_next_draw_is_another():
    x = torch.ones(100)
    first = dropped(x, 0.5)
    assert not torch.equal(dropped(x, 0.5), first)
    torch.manual_seed(0)
    assert torch.equal(dropped(x, 0.5), first)


def test_gradients_are_of_what_was_kept_and_a_byte_a_number_is_remembered():
    x, kept = torch.randn(40, 30, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        y = dropped(x, 0.3)
    y.backward(torch.ones_like(y))
    assert_close(x.grad * x, y)
    assert sum(kept) == x.numel()


def seeded_product(x, y):
    torch.manual_seed(1)
    return dropped_product(x, 0.3, y)


def test_a_product_with_what_was_kept_and_its_gradients_of_both_orders():
    x, y = torch.rand(2, 3, 4, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64).mT
    torch.manual_seed(1)
    assert_close(
        seeded_product(x, y), seeded_product(torch.ones_like(x), torch.eye(4).double().expand(2, 4, 4)) * x @ y
    )
    inputs = (x.requires_grad_(), y.detach().requires_grad_())
    assert torch.autograd.gradcheck(seeded_product, inputs)
    assert torch.autograd.gradgradcheck(seeded_product, inputs)
    for number in (0, 1):  # one of both alone
        alone = tuple(part.detach().requires_grad_(place == number) for place, part in enumerate(inputs))
        assert torch.autograd.gradcheck(seeded_product, alone)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_with_dropout_is_on_average_attention_without(padded, causal):
    q, k, v = torch.randn(3, 2, 2, 3, 4)
    keys = torch.tensor([[True, True, True], [True, True, False]]) if padded else None

    def tried(times, chance):
        many = (part.repeat(times, 1, 1, 1) for part in (q, k, v))
        first, *kv = many
        mask = Mask(None if keys is None else keys.repeat(times, 1), causal)
        y = attend(first, KV(*kv), mask, 0.5, dropout=chance)[0]
        return y.unflatten(0, (times, 2)).mean(0)

    torch.testing.assert_close(tried(DRAWS, 0.3), tried(1, 0.0), rtol=0, atol=0.1)
    assert not torch.equal(tried(1, 0.3), tried(1, 0.0))


def test_attention_row_by_row_with_dropout_is_on_average_that_without():
    lengths = [3, 1, 4]
    q, k, v = torch.randn(3, sum(lengths), 6)

    def tried(times, chance):
        many = [part.repeat(times, 1) for part in (q, k, v)]
        return attend_rows(*many, lengths * times, 2, 0.5, False, chance).unflatten(0, (times, -1)).mean(0)

    torch.testing.assert_close(tried(DRAWS // 4, 0.3), tried(1, 0.0), rtol=0, atol=0.15)
    assert not torch.equal(tried(1, 0.3), tried(1, 0.0))


def seeded_attention(q, k, v, seen):
    torch.manual_seed(1)
    return dropped_attention(q, k, v, 0.5, seen, 0.3)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_dropout_computes_its_probabilities_again(masked):
    q, k, v = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    seen = torch.tensor([[True, True, True, False], [True, False, True, True]])[:, None, None] if masked else None
    scores = (q * 0.5) @ k.mT
    weights = (scores if seen is None else scores.masked_fill(~seen, -torch.inf)).softmax(-1)
    torch.manual_seed(1)
    expected = dropped_product(weights, 0.3, v)
    out = seeded_attention(q, k, v, seen)
    assert_close(out, expected)
    weight = torch.randn_like(out)
    for own, other in zip(*(torch.autograd.grad((y * weight).sum(), (q, k, v)) for y in (out, expected)), strict=True):
        assert_close(own, other)
    assert torch.autograd.gradcheck(lambda *of: seeded_attention(*of, seen), (q, k, v))
    assert torch.autograd.gradgradcheck(lambda *of: seeded_attention(*of, seen), (q, k, v))
    (alone,) = torch.autograd.grad((seeded_attention(q.detach(), k.detach(), v, seen) * weight).sum(), v)
    assert_close(alone, torch.autograd.grad((seeded_attention(q, k, v, seen) * weight).sum(), v)[0])


def test_of_attention_with_dropout_a_byte_a_probability_is_remembered():
    q, k, v = (torch.randn(2, 3, 64, 4, requires_grad=True) for _ in range(3))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        dropped_attention(q, k, v, 0.5, None, 0.3)
    assert sum(kept) == 3 * q.nbytes + 2 * 3 * 64 * 64
