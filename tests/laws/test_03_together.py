"""Law 3 for units that act at once: rows of many adapters of one form are the rows run alone, forward and backward."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Parallel, Stack
from adapterzoo.plan.rows import OnRows
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for, row_of
from tests.helpers.comparing import assert_close, assert_gradients, gradients
from tests.helpers.tiny import tiny_model

TOGETHER = (
    "lora",
    "vera",
    "mtl_lora",
    "ia3",
    "seq_bn",
    "double_seq_bn",
    "scaled_par_bn",
    "prefix_tuning",
    "prefix_tuning_flat",
)
"""Presets whose units act together."""

ALONE = ("dora", "compacter", "bitfit", "loreft", "lora[use_gating=True]", "seq_bn[ln_before=True]")
"""Some whose units do not."""


def make(architecture, kinds, each=3):
    """A model with so many adapters of each kind, their names and a batch of a row for each and for no adapter."""
    torch.manual_seed(0)
    model = tiny_model(architecture)
    names = [f"{kind}-{number}" for number in range(each) for kind in kinds]
    for name in names:
        add_random(model, name, name.rsplit("-", 1)[0])
    batch = batch_for(model, rows=len(names) + 2)
    return model.double(), [None, *names, names[0]], batch


def run(model, batch, weight, **call):
    """The last hidden states, where there are tokens, and the gradients of a number made of them."""
    model.zero_grad()
    output = model(**batch, **call).last_hidden_state
    mask = batch.get("decoder_attention_mask", batch.get("attention_mask"))
    output = output if mask is None else output * mask[..., None]
    (output * weight[:, : output.size(1)]).sum().backward()
    return output.detach(), gradients(model)


def check(model, names, batch):
    weight = torch.randn(len(names), 64, model.base.config.width, dtype=torch.float64)
    together, found = run(model, batch, weight, adapter_names=names)
    with AdapterSetup(BatchSplit(*(name or Stack() for name in names), batch_sizes=1)):
        split, by_split = run(model, batch, weight)
    total = {}
    for row, name in enumerate(names):
        alone, own = run(model, row_of(batch, row), weight[row : row + 1], adapter_names=[name])
        for output in (together, split):
            assert_close(output[row : row + 1, : alone.size(1)], alone, f"row {row}, {name}")
        for place, gradient in own.items():
            total[place] = total[place] + gradient if place in total else gradient
    for gradient in (found, by_split):
        assert_gradients({place: gradient[place] for place in total}, total)


def bundled(plan):
    return any(isinstance(unit, OnRows) and unit.bundled for units in plan.tables.values() for unit in units.values())


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("kind", TOGETHER)
@pytest.mark.parametrize("architecture", ["bert", "bart"])
def test_rows_of_one_method(architecture, kind, padding_free):
    model, names, batch = make(architecture, [kind])
    model.padding_free = padding_free
    check(model, names, batch)


@pytest.mark.parametrize("architecture", ["bert", "bart"])
def test_rows_of_several_methods_in_any_order(architecture):
    model, names, batch = make(architecture, ["lora", "ia3", "dora", "seq_bn", "prefix_tuning_flat", "bitfit"], 2)
    check(model, names, batch)


@pytest.mark.parametrize("kind", [*TOGETHER, *ALONE])
def test_which_units_act_together(kind):
    model = tiny_model("bert")
    for name in ("first", "second"):
        model.add_adapter(name, kind)
    plan, _, _ = model.adapters.rows_plan(["first", "second"], model.base)
    assert bundled(plan) == (kind in TOGETHER)


def test_runs_of_very_different_lengths_are_not_padded_to_the_longest():
    model, _, _ = make("bert", ["lora"], 4)
    names = ["lora-0"] * 40 + ["lora-1", "lora-2", "lora-3"]
    batch = batch_for(model, rows=len(names))
    check(model, names, batch)


def test_parallel_children_and_heads_act_together():
    model, _, _ = make("bert", ["lora"])
    batch = batch_for(model, rows=2)
    for number in range(3):
        model.add_classification_head(f"lora-{number}", num_labels=2 if number < 2 else 3)
    names = [f"lora-{number}" for number in range(3)]
    labels = torch.tensor([0, 1])
    with AdapterSetup(Parallel(*names)):
        together = model.eval()(**batch, labels=labels)
    alone = []
    for name, part in zip(names, together, strict=True):
        with AdapterSetup(name):
            alone.append(model(**batch, labels=labels))
        assert_close(part.logits, alone[-1].logits, name)
        assert_close(part.loss, alone[-1].loss, name)
    assert_close(together.loss, sum(one.loss for one in alone))


def test_dropout_drops_where_it_should():
    torch.manual_seed(0)
    model = tiny_model("bert")
    for number in range(2):
        add_random(model, f"a{number}", "lora[dropout=0.5]")
    batch, names = batch_for(model, rows=2), ["a0", "a1"]
    model.train()
    for part in model.base.modules():
        if isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    first, second = (model(**batch, adapter_names=names).last_hidden_state for _ in range(2))
    assert not torch.equal(first, second)
    model.adapters["a0"].eval()
    first, second = (model(**batch, adapter_names=names).last_hidden_state for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])


def test_half_precision_adapters_beside_others():
    model, names, batch = make("bert", ["lora"])
    model.adapter_to("lora-1", dtype=torch.bfloat16)
    with torch.no_grad():
        together = model(**batch, adapter_names=names).last_hidden_state
        for row, name in enumerate(names):
            alone = model(**row_of(batch, row), adapter_names=[name]).last_hidden_state
            assert_close(together[row : row + 1, : alone.size(1)], alone, name)


def test_what_changes_in_an_adapter_acts_at_once():
    model, names, batch = make("bert", ["lora", "prefix_tuning_flat"])
    with torch.no_grad():
        before = model(**batch, adapter_names=names).last_hidden_state
        for parameter in model.adapters.parameters():
            parameter.data.add_(0.1)
        after = model(**batch, adapter_names=names).last_hidden_state
    for row, name in enumerate(names):
        assert torch.equal(before[row], after[row]) == (name is None)


def test_another_order_of_the_same_names_is_the_same_plan():
    model, names, batch = make("bert", ["lora", "seq_bn"])
    with torch.no_grad():
        first = model(**batch, adapter_names=names).last_hidden_state
        plans = dict(model.adapters._plans)
        order = torch.randperm(len(names))
        shuffled = {name: tensor[order] for name, tensor in batch.items()}
        second = model(**shuffled, adapter_names=[names[row] for row in order]).last_hidden_state
    assert model.adapters._plans == plans
    assert_close(second, first[order])
