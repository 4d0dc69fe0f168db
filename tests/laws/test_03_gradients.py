"""Law 3, in training: a batch's gradients are the sum of those of its rows, each run alone with its adapter."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Stack
from tests.helpers.adapting import KINDS, add_all
from tests.helpers.batches import batch_for, row_of
from tests.helpers.comparing import assert_gradients, gradients
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}


@pytest.fixture(params=MODELS)
def model(request):
    return add_all(MODELS[request.param](request.param)).double().train()


def weights(model, batch):
    """What each number of the last hidden states weighs in the loss, by row: padding nothing."""
    names = ("decoder_input_ids", "input_ids")
    ids = next(batch[name] for name in names if name in batch)
    return torch.randn(*ids.shape, model.base.config.width, dtype=torch.float64)


def summed(model, batch, weight, **call):
    output = model(**batch, **call).last_hidden_state
    mask = batch.get("decoder_attention_mask", batch.get("attention_mask"))
    real = torch.ones_like(output[..., :1]) if mask is None else mask[..., None]
    (output * weight[:, : output.size(1)] * real).sum().backward()


def test_every_method_in_one_batch(model):
    names = [None, *reversed(KINDS), KINDS[0]]
    batch = batch_for(model, rows=len(names))
    batch = {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}
    weight = weights(model, batch)
    summed(model, batch, weight, adapter_names=names)
    together = gradients(model)
    split = BatchSplit(*(Stack() if name is None else name for name in names), batch_sizes=1)
    with AdapterSetup(split):
        summed(model, batch, weight)
    by_split = gradients(model)
    for row, name in enumerate(names):
        with AdapterSetup(name):
            summed(model, row_of(batch, row), weight[row : row + 1])
    alone = gradients(model)
    assert {name for name in alone if name.startswith("adapters.")} == {
        name for name, _ in model.named_parameters() if name.startswith("adapters.")
    }
    assert_gradients(together, alone)
    assert_gradients(by_split, alone)
