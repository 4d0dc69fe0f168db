"""Law 10: attention row by row, as long packed rows have it on CPUs, is attention on the grid."""

from __future__ import annotations

import pytest
import torch

from adapterzoo.nn import layout
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for, unmasked
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}
METHODS = (None, "lora_all")


def last(model, batch):
    """The last stack's hidden states where there is no padding, and the gradients that they give what is trained."""
    output = model(**batch).last_hidden_state[unmasked(model, batch, model.base.config.last_stack)]
    trained = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(output.pow(2).sum(), trained, allow_unused=True) if trained else []
    return output, [grad for grad in grads if grad is not None]


@pytest.mark.parametrize("setup", METHODS, ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_row_by_row_is_on_the_grid(kind, setup, monkeypatch):
    model = MODELS[kind](kind)
    if setup is not None:
        add_random(model, setup)
        model.train_adapter(setup)
    model.double().eval()
    batch = batch_for(model, decoder=False)
    batch = {name: given.double() if given.is_floating_point() else given for name, given in batch.items()}
    monkeypatch.setattr(layout, "LEAST", 1)
    rows, row_grads = last(model, batch)
    model.padding_free = False
    grid, grid_grads = last(model, batch)
    assert_close(rows, grid)
    for ours, theirs in zip(row_grads, grid_grads, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(("least", "calls"), [(1, True), (1000, False)])
def test_rows_that_are_long_are_seen_to_one_by_one(least, calls, monkeypatch):
    model = tiny_model("bert")
    batch = batch_for(model)
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(layout, "LEAST", least)
    with monkeypatch.context() as patched:
        patched.setattr(
            torch.nn.functional,
            "scaled_dot_product_attention",
            lambda q, *a, **k: seen.append(len(q)) or attend(q, *a, **k),
        )
        model(**batch)
    assert (set(seen) == {1}) is calls
