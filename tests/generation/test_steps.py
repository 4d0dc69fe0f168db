"""What a step of generation shares between beams and between steps changes nothing in what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo import AdapterSetup, BatchSplit
from adapterzoo.core.run import KV
from adapterzoo.generation import decoder as module
from adapterzoo.generation.processors import NEVER, MinLength, Suppressed
from adapterzoo.nn import attention
from adapterzoo.nn.attention import attend
from adapterzoo.nn.cache import Cache, Slot
from adapterzoo.nn.mask import Mask
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.generating import distinct_decoders, generator_of, prompt_of

BEAMS = 3
OPTIONS: dict[str, Any] = {
    "num_beams": BEAMS,
    "eos_token_id": None,
    "forced_eos_token_id": None,
    "max_new_tokens": 5,
    "no_repeat_ngram_size": 1,
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("queries", [1, 2])
def test_rows_that_look_at_the_same_keys_attend_as_if_each_had_its_own(
    queries: int, need_weights: bool, masked: bool
) -> None:
    q, k, v = torch.randn(2 * BEAMS, 4, queries, 8), torch.randn(2, 4, 5, 8), torch.randn(2, 4, 5, 8)
    keys = torch.tensor([[True] * 5, [True] * 2 + [False] * 3]) if masked else None

    def own(tensor: Tensor) -> Tensor:
        return tensor.repeat_interleave(BEAMS, 0)

    y, weights = attend(q, KV(k, v), Mask(keys), 0.3, need_weights=need_weights)
    apart = Mask(None if keys is None else own(keys))
    expected, expected_weights = attend(q, KV(own(k), own(v)), apart, 0.3, need_weights=True)
    torch.testing.assert_close(y, expected)
    assert y.shape == q.shape and (weights is None) is not need_weights
    if weights is not None:
        torch.testing.assert_close(weights, expected_weights)


@pytest.mark.parametrize("masked", [False, True])
def test_many_lone_queries_attend_as_few_do(monkeypatch: pytest.MonkeyPatch, masked: bool) -> None:
    q, k, v = torch.randn(3, 4, 1, 8), torch.randn(3, 4, 6, 8), torch.randn(3, 4, 6, 8)
    keys = torch.arange(6) < torch.tensor([[6], [1], [4]]) if masked else None
    few = attend(q, KV(k, v), Mask(keys), 0.3)[0]
    monkeypatch.setattr(attention, "MANY", 0)
    monkeypatch.delattr(attention.F, "scaled_dot_product_attention")
    torch.testing.assert_close(attend(q, KV(k, v), Mask(keys), 0.3)[0], few)


def test_a_slot_s_rows_go_where_they_should_in_two_pairs_of_tensors() -> None:
    slot, plain, places = Slot(), torch.empty(4, 2, 0, 3), set()
    for step in range(12):
        new = torch.randn(4, 2, 1, 3)
        k, v = slot.extend(new, -new)
        plain = torch.cat([plain, new], 2)
        assert torch.equal(k, plain) and torch.equal(v, -plain)
        rows = torch.randint(0, 4, (4,))
        slot.reorder(rows)
        plain = plain[rows]
        assert torch.equal(slot.seen()[0], plain) and torch.equal(slot.seen()[1], -plain)
        places.add(slot.seen()[0].data_ptr()) if step else None
    assert len(places) == 2
    slot.reorder(torch.tensor([3, 0]))
    assert torch.equal(slot.seen()[0], plain[[3, 0]])


def test_a_slot_may_be_reordered_in_a_graph() -> None:
    slot, k = Slot(), torch.randn(3, 2, 4, 3, requires_grad=True)
    slot.extend(k, k * 2)
    slot.reorder(torch.tensor([1, 1, 0]))
    slot.seen()[0].sum().backward()
    assert torch.equal(k.grad[:, 0, 0, 0], torch.tensor([1.0, 2.0, 0.0]))  # type: ignore[index]


def test_rows_that_stay_where_they_are_are_not_copied() -> None:
    cache = Cache(1)
    k = cache.layers[0].attn.extend(torch.randn(3, 2, 4, 3), torch.randn(3, 2, 4, 3))[0]
    cache.reorder(torch.arange(3), same_memory=True)
    assert cache.layers[0].attn.seen()[0].data_ptr() == k.data_ptr()
    cache.reorder(torch.tensor([0, 2, 1]), same_memory=True)
    assert torch.equal(cache.layers[0].attn.seen()[0], k[[0, 2, 1]])


@pytest.fixture(scope="module", params=distinct_decoders())
def model(request: pytest.FixtureRequest) -> Any:
    """A decoder with a few methods."""
    torch.manual_seed(0)
    model = generator_of(request.param)
    for name in ("lora", "seq_bn", "prefix_tuning"):
        add_random(model, name, CONFIGS[name])
    return model.double()


def decoders_of(model: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Any]:
    """What ran the network in a call of `generate`."""
    made: list[Any] = []
    build = module.memory_of

    def noted(host: Any, *rest: Any) -> Any:
        made.append(build(host, *rest))
        return made[-1]

    monkeypatch.setattr(module, "memory_of", noted)
    model.generate(**prompt_of(model), **{**OPTIONS, **options})
    return made


@pytest.mark.parametrize("setup", [None, "lora", "prefix_tuning"])
def test_beams_look_at_one_memory_but_where_something_acts_on_what_they_see(
    model: Any, setup: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AdapterSetup(setup):
        (memory,) = decoders_of(model, monkeypatch)
    if memory is None:
        pytest.skip("this decoder has no cross-attention")
    inputs = len(next(iter(prompt_of(model).values())))
    assert memory.layout.rows == inputs * (BEAMS if setup == "prefix_tuning" else 1)


@pytest.mark.parametrize("setup", ["lora", BatchSplit("lora", "prefix_tuning", batch_sizes=[1, 2])], ids=str)
def test_a_step_lays_its_tokens_out_once(model: Any, setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts: list[Any] = []
    build = module.StackInput

    def noted(layout: Any, *rest: Any) -> Any:
        layouts.append(layout)
        return build(layout, *rest)

    monkeypatch.setattr(module, "StackInput", noted)
    inputs = prompt_of(model)
    with AdapterSetup(setup):
        found = model.generate(**inputs, **OPTIONS)
        assert len(layouts) == OPTIONS["max_new_tokens"] - 1 and len(set(map(id, layouts))) == 1
        assert torch.equal(model.generate(**inputs, **OPTIONS, use_cache=False), found)


@pytest.mark.parametrize("make", [lambda tokens: Suppressed(tokens.tolist()), lambda tokens: MinLength(9, tokens)])
def test_tokens_beyond_the_vocabulary_are_passed_over(make: Any) -> None:
    scores = torch.randn(2, 5)
    left = make(torch.tensor([1, 7, 4]))(torch.zeros(2, 3, dtype=torch.long), scores.clone())
    assert (left[:, [1, 4]] == NEVER).all() and torch.equal(left[:, [0, 2, 3]], scores[:, [0, 2, 3]])
