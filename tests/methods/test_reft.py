"""ReFT: what is edited, in each stack, and what stays true of R whatever an optimizer does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adapterzoo import LoReftConfig, ReftConfig
from adapterzoo.methods import PRESETS
from adapterzoo.methods.orthogonal import OrthogonalProjection
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for, padding_mask
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, tiny_model

LENGTHS = [8, 1, 5, 2]
FIRST, LAST = 3, 2


def plain(**changes):
    fields = {"layers": "all", "prefix_positions": FIRST, "suffix_positions": LAST, "r": 2, "orthogonality": True}
    return ReftConfig(**{**fields, "dropout": 0.0, **changes})


def model_with(architecture, **changes):
    model = tiny_model(architecture).eval()
    add_random(model, "a", plain(**changes))
    return model


def states(model, batch, stack, setup):
    """The hidden states after a stack's first layer."""
    model.set_active_adapters(setup)
    with torch.no_grad():
        output = model(**batch, output_hidden_states=True)
    two = len(model.base.config.stacks()) == 2
    return output[f"{stack}_hidden_states" if two else "hidden_states"][1]


def padded_to(side, model):
    """A batch of rows of LENGTHS, padded on a side; a decoder's rows have other lengths, padded on the right."""
    batch = batch_for(model, lengths=LENGTHS)
    if side == "left":
        lone = len(model.base.config.stacks()) == 1
        for name in [name for name in batch if lone or not name.startswith("decoder")]:
            batch[name] = batch[name].flip(1)
    return batch


def ends(mask):
    """(B, T): which of a row's tokens are among its first or its last."""
    count = mask.cumsum(1)
    left = mask.sum(1, keepdim=True) - count
    return mask.bool() & ((count <= FIRST) | (left < LAST))


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_each_stack_has_its_own_first_and_last_tokens_edited_and_no_others(architecture, side, padding_free):
    below = 0
    for stack, numbers in tiny_model(architecture).base.config.stacks().items():
        model = model_with(architecture, layers=[below])
        model.padding_free = padding_free
        batch = padded_to(side, model)
        mask = batch["decoder_attention_mask" if stack == "decoder" else "attention_mask"]
        changed = (states(model, batch, stack, "a") != states(model, batch, stack, None)).any(-1)
        assert torch.equal(changed & mask.bool(), ends(mask))
        below += numbers.layers


@pytest.mark.parametrize("architecture", DISTINCT)
def test_where_first_and_last_meet_what_was_made_for_the_last_stands(architecture):
    model = model_with(architecture, layers=[0], prefix_positions=8, suffix_positions=8)
    add_random(model, "last", plain(layers=[0], prefix_positions=0, suffix_positions=8))
    model.adapters["last"].load_state_dict(model.adapters["a"].state_dict())
    batch = batch_for(model)
    first = next(iter(model.base.config.stacks()))
    assert_close(states(model, batch, first, "a"), states(model, batch, first, "last"))


def test_one_edit_may_be_for_both_ends():
    model = model_with("bert", tied_weights=True)
    units = [unit for unit in model.adapters["a"].units.values()]
    assert all(len(unit.units) == 1 for unit in units)
    batch = batch_for(model, lengths=LENGTHS)
    changed = (states(model, batch, "encoder", "a") != states(model, batch, "encoder", None)).any(-1)
    assert torch.equal(changed & batch["attention_mask"].bool(), ends(batch["attention_mask"]))


def test_an_edit_is_what_the_paper_says():
    torch.manual_seed(0)
    model = model_with("bert", layers=[0], suffix_positions=0, non_linearity="tanh")
    batch = batch_for(model, lengths=[8, 8, 8, 8])
    before, after = (states(model, batch, "encoder", setup) for setup in (None, "a"))
    edit = model.adapters["a"].units["encoder-0-layer-out"].units[0]
    h, r = before[:, :FIRST], edit.projection.weight
    source = torch.tanh(h @ edit.learned_source.weight.T + edit.learned_source.bias)
    assert_close(after[:, :FIRST], h + (source - h @ r.T) @ r)


@pytest.mark.parametrize("preset", ["loreft", "noreft", "direft"])
def test_only_loreft_keeps_the_rows_of_r_orthonormal(preset):
    model = tiny_model("bert")
    model.add_adapter("a", PRESETS[preset].replace(r=3))
    model.add_classification_head("a")
    model.train_adapter("a")
    optimizer = torch.optim.AdamW(model.adapters["a"].parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch_for(model), labels=torch.tensor([0, 1, 1, 0])).loss.backward()
        optimizer.step()
    rows = model.adapters["a"].units["encoder-0-layer-out"].units[0].projection.weight.detach()
    apart = float((rows @ rows.T - torch.eye(3)).abs().max())
    assert (apart < 1e-5) == (preset == "loreft"), apart


@pytest.mark.parametrize(("r", "width"), [(1, 8), (3, 8), (8, 8), (9, 8)])
def test_r_is_pytorchs_parametrisation(r, width):
    linear = nn.Linear(width, r, bias=False)
    torch.manual_seed(0)
    ours = OrthogonalProjection(linear.weight)
    torch.manual_seed(0)
    theirs = nn.utils.parametrizations.orthogonal(linear)
    assert_close(ours.weight, theirs.weight)
    with torch.no_grad():
        change = torch.randn(max(r, width), min(r, width)).tril(-1)
        ours.original += change.T if r < width else change
        theirs.parametrizations.weight.original.copy_(ours.original)
    assert_close(ours.weight, theirs.weight)
    for made in (ours, theirs):
        made.weight.square().mul(torch.arange(r * width).view(r, width)).sum().backward()
    assert_close(ours.original.grad, theirs.parametrizations.weight.original.grad)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_units_may_have_a_dtype_of_their_own(dtype):
    model = tiny_model("bert").eval()
    model.add_adapter("a", LoReftConfig(dtype=dtype, r=2), set_active=True)
    assert {p.dtype for p in model.adapters["a"].parameters()} == {getattr(torch, dtype)}
    output = model(**batch_for(model)).last_hidden_state
    assert output.dtype == torch.float32
    output.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.adapters["a"].parameters())


def test_what_cannot_be_is_refused():
    model = tiny_model("bert")
    for changes, words in (
        ({"layers": "some"}, 'layers must be "all", or layers'),
        ({"layers": [-1]}, 'layers must be "all", or layers'),
        ({"prefix_positions": -1}, "prefix_positions must be 0 or more"),
        ({"r": 0}, "r must be above 0"),
    ):
        with refuses(ValueError, words, model=model):
            model.add_adapter("a", {"architecture": "reft", **dict(plain()), **changes})
    with refuses(ValueError, "covers no site", model=model):
        model.add_adapter("a", plain(layers=[7]))
    with refuses(ValueError, "cannot be made from"):
        ReftConfig.from_dict({"r": 1})


def test_a_row_may_be_empty():
    model = model_with("bert")
    batch = batch_for(model, lengths=[8, 3, 4, 4])
    batch["attention_mask"] = padding_mask([8, 0, 4, 4], 8)
    model.set_active_adapters("a")
    assert model(**batch).last_hidden_state.isfinite().all()
