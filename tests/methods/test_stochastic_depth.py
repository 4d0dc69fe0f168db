"""Stochastic depth (AdapterPlus): in training whole rows go without the adapter, the others have more of it."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterPlusConfig
from tests.helpers.batches import batch_for
from tests.helpers.tiny import DISTINCT, randomise, tiny_model

CHANCE, TIMES = 0.25, 200


@pytest.fixture(scope="module", params=DISTINCT)
def model(request):
    torch.manual_seed(0)
    made = tiny_model(request.param)
    layers = made.base.config.layers
    config = AdapterPlusConfig(stochastic_depth=CHANCE, reduction_factor=4, leave_out=list(range(layers - 1)))
    made.add_adapter("a", config)
    randomise(made.adapters["a"])
    made.set_active_adapters("a")
    return made


def last_hidden(model, batch):
    with torch.no_grad():
        return model(**batch).last_hidden_state


def test_each_row_goes_without_as_often_as_the_chance_says_and_as_a_whole(model):
    torch.manual_seed(1)
    batch = batch_for(model, rows=4)
    (unit,) = model.adapters["a"].units.values()
    model.set_active_adapters(None)
    model.eval()
    seen = []

    def keep(module, inputs, output):
        seen.append((inputs[0], inputs[1], output))

    handle = unit.register_forward_hook(keep)
    model.set_active_adapters("a")
    last_hidden(model, batch)
    (h, ctx, still) = seen.pop()
    handle.remove()
    z = ctx.norm(h + ctx.residual) if ctx.norm is not None else h + ctx.residual
    update = ctx.layout.grid(still.value - z)
    unit.train()
    dropped, kept = torch.zeros(update.size(0)), torch.zeros(update.size(0))
    for _ in range(TIMES):
        with torch.no_grad():
            found = ctx.layout.grid(unit(h, ctx).value - z)
        for row in range(update.size(0)):
            if not found[row].any():
                dropped[row] += 1
            else:
                torch.testing.assert_close(found[row], update[row] / (1 - CHANCE), rtol=1e-4, atol=1e-5)
                kept[row] += 1
    unit.eval()
    assert (dropped + kept == TIMES).all()
    deviation = (CHANCE * (1 - CHANCE) / TIMES) ** 0.5
    assert ((dropped / TIMES - CHANCE).abs() < 4 * deviation).all()


def test_outside_of_training_every_row_has_it(model):
    model.eval()
    batch = batch_for(model)
    assert torch.equal(last_hidden(model, batch), last_hidden(model, batch))
