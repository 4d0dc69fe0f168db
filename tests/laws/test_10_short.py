"""Law 10: two products in place of the kernel, and rows apart by their prefixes' lengths, change no attention."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from adapterzoo import BatchSplit
from adapterzoo.nn import attention, short
from adapterzoo.plan import rows
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for, unmasked
from tests.helpers.comparing import assert_close, assert_gradients, gradients
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}
PREFIXES = {
    "three": "prefix_tuning[prefix_length=3]",
    "three_too": "prefix_tuning[prefix_length=3]",
    "five": "prefix_tuning[prefix_length=5,use_gating=True]",
    "four": "prefix_tuning[prefix_length=4,leave_out=[0]]",
    "seven": "prefix_tuning[prefix_length=7]",
}
MIXES = {
    "one with": [None, "three", None, "three_too", None, None],
    "two lengths": ["three", "five", None, "three_too", "five", None],
    "a layer left out": ["four", "four", None, "three", "three_too", None],
    "more parts than are worth it": ["three", "four", "five", "seven", "three", None],
    "all as long": ["three", "three_too", "three", "three", "three_too", "three"],
}


def mixed(kind: str):
    model = MODELS[kind](kind)
    for name, config in PREFIXES.items():
        add_random(model, name, config)
    return model


def hidden(model, batch, **call):
    return model(**batch, **call).last_hidden_state[unmasked(model, batch, model.base.config.last_stack)]


@pytest.mark.parametrize(("queries", "keys"), [(8, 8), (8, 20), (16, 16), (9, 64)])
@pytest.mark.parametrize("masked", [None, "keys", "pairs", "all rows alike"])
def test_two_products_are_the_kernel(masked, queries, keys):
    q, k, v = (torch.randn(3, 4, length, 16) for length in (queries, keys, keys))
    shape = {"keys": (3, 1, 1, keys), "pairs": (3, 1, queries, keys), "all rows alike": (1, 1, queries, keys)}
    seen = None if masked is None else torch.rand(shape[masked]) > 0.5
    if seen is not None:
        seen[..., 0] = True
    expected = F.scaled_dot_product_attention(q, k, v, seen, scale=0.3)
    with torch.no_grad():
        assert_close(short.attend_short(q, k, v, 0.3, seen), expected)


def test_where_two_products_are_taken():
    q = torch.randn(64, 4, 16, 32)
    assert not short.is_short(q, q), "they are for values alone"
    with torch.no_grad():
        assert short.is_short(q, q)
        assert not short.is_short(q[:1], q[:1]), "one row is too few"
        assert not short.is_short(q[:, :, :4], q), "so few queries are generation's"
        assert not short.is_short(q.bfloat16(), q.bfloat16())
        long = torch.randn(8, 4, 128, 32)
        assert not short.is_short(long, long)
        with torch.autocast("cpu", torch.bfloat16):
            assert not short.is_short(q, q)


@pytest.mark.parametrize("kind", MODELS)
def test_models_by_two_products(kind, monkeypatch):
    model = mixed(kind)
    batch, names = batch_for(model, rows=6), MIXES["two lengths"]
    with torch.no_grad():
        expected = [hidden(model, batch), hidden(model, batch, adapter_names=names)]
        calls = []
        monkeypatch.setattr(short, "FEW", 0)
        monkeypatch.setattr(short, "QUERIES", 1)
        monkeypatch.setattr(attention, "attend_short", lambda *a: calls.append(1) or short.attend_short(*a))
        for padding_free, (call, known) in itertools.product(
            (True, False), zip(({}, {"adapter_names": names}), expected, strict=True)
        ):
            model.padding_free = padding_free
            assert_close(hidden(model, batch, **call), known)
    assert calls or model.base.config.first.relative is not None, "nothing was short"


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("kind", MODELS)
def test_rows_with_and_without_prefixes_apart(kind, mix, monkeypatch):
    model = mixed(kind).double()
    model.train_adapter([*PREFIXES])
    model.eval()
    names = MIXES[mix]
    batch = {k: t.double() if t.is_floating_point() else t for k, t in batch_for(model, rows=6).items()}
    found = []
    for monkeyed in (rows.PARTS, 0):
        monkeypatch.setattr(rows, "PARTS", monkeyed)
        model.zero_grad()
        output = hidden(model, batch, adapter_names=names)
        output.pow(2).sum().backward()
        found.append((output, gradients(model)))
    assert_close(found[0][0], found[1][0])
    assert_gradients(found[0][1], found[1][1])


def test_rows_without_a_prefix_get_no_room_for_one(monkeypatch):
    model, seen = mixed("bert"), []
    batch = {"input_ids": batch_for(model, rows=6)["input_ids"]}
    attend = attention.attend
    monkeypatch.setattr(
        attention, "attend", lambda q, kv, *rest: seen.append((len(q), kv.prefix)) or attend(q, kv, *rest)
    )
    with torch.no_grad():
        model(**batch, adapter_names=MIXES["one with"])
        layers = model.base.config.first.layers
        assert sorted(seen) == sorted([(4, 0), (2, 3)] * layers)
        seen.clear()
        model.set_active_adapters(BatchSplit("five", "three", batch_sizes=[2, 4]))
        model(**batch)
        assert sorted(seen) == sorted([(2, 5), (4, 3)] * layers)
        seen.clear()
        model(**batch, adapter_names=MIXES["all as long"])
        assert seen == [(6, 3)] * layers, "rows that look at as many keys stay together"
