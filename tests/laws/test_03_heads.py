"""Law 3, for heads: with an adapter a row, each row has the head of its adapter's name, as if run alone."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, MultiHeadOutput, Stack
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.batches import batch_for, rows_of
from tests.helpers.comparing import assert_close, assert_gradients, assert_same, gradients, leaves
from tests.helpers.heads import TOGETHER, add_head, head_types, labels_for, model_for, shaped
from tests.helpers.tiny import DISTINCT, tiny_model

HEADS = [(name, kind) for name in DISTINCT for kind in head_types(tiny_model(name))]
ROWS = ["b", None, "a", "c", "b", "a"]  # "a" and "b" have heads of their own
OWN = {"a": "a", "b": "b"}
OTHER = "other"  # the head that is active, for rows whose adapter has none


def make(architecture, kinds):
    """A model with adapters "a", "b" and "c", and heads "a", "b" and "other", the last of which is active."""
    model = model_for("causal_lm" if "causal_lm" in kinds else kinds[0], architecture)
    for name, config in {"a": "double_seq_bn", "b": "lora_all", "c": "prefix_tuning"}.items():
        add_random(model, name, CONFIGS[config])
    for name, kind in zip((*OWN, OTHER), kinds, strict=True):
        add_head(model, kind, name)
    return model.double()


def inputs(model, kind):
    batch = batch_for(model, rows=12 if kind in TOGETHER else 6, decoder=False)
    batch = shaped(kind, batch)
    return batch, labels_for(model, kind, batch)


def check(model, output, batch, labels, names):
    """Each head's part is what the head alone gives for its rows; the loss is the sum of the parts'."""
    assert isinstance(output, MultiHeadOutput)
    seen = []
    for part, rows in zip(output, output.rows, strict=True):
        (head,) = {OWN.get(names[row], OTHER) for row in rows}
        own = {**rows_of(batch, list(rows)), **rows_of(labels, list(rows))}
        alone = model(**own, adapter_names=[names[row] for row in rows], head=head, output_hidden_states=True)
        assert type(part) is type(alone)
        found, expected = leaves(part), leaves(alone)
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            assert_close(found[name], tensor, f"{name} of {head}")
        seen += rows
    assert sorted(seen) == list(range(len(names)))
    if labels:
        assert_close(output.loss, sum(part.loss for part in output))


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_heads_of_every_type_with_labels(architecture, kind):
    model = make(architecture, [kind] * 3)
    batch, labels = inputs(model, kind)
    output = model(**batch, **labels, adapter_names=ROWS, output_hidden_states=True)
    assert len(output) == 3  # rows without a head of their own share one, whatever their adapters
    check(model, output, batch, labels, ROWS)
    if "logits" in output[0]:
        for part, rows in zip(output, output.rows, strict=True):
            assert torch.equal(output.logits[list(rows)], part.logits)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_heads_of_different_types(architecture):
    types = tiny_model(architecture).head_types
    kinds = [kind for kind in types if kind not in TOGETHER and not types[kind].needs]
    for first, second in zip(kinds, [*kinds[1:], kinds[0]], strict=True):
        model = make(architecture, [first, second, "classification"])
        batch, _ = inputs(model, first)
        check(model, model(**batch, adapter_names=ROWS, output_hidden_states=True), batch, {}, ROWS)


@pytest.mark.parametrize("architecture", [name for name, kind in HEADS if kind == "multiple_choice"])
def test_questions_come_back_in_the_callers_order_with_all_their_choices(architecture):
    model = make(architecture, ["multiple_choice"] * 3)
    batch, _ = inputs(model, "multiple_choice")
    call = {"head": OTHER, "output_hidden_states": True, "output_attentions": True}
    names = ["b", None, "a", "a", "b", "a"]  # no prefixes: these would widen every row's attentions
    output = leaves(model(**batch, adapter_names=names, **call))
    for row, name in enumerate(names):
        with AdapterSetup(name):
            alone = leaves(model(**rows_of(batch, [row]), **call))
        for field, expected in alone.items():
            rows = slice(row * len(expected), (row + 1) * len(expected))  # one for each choice, but for logits
            assert_close(output[field][rows], expected, field)


SPLITS = {
    "names": (BatchSplit("a", "b", batch_sizes=[2, 4]), ["a"] * 2 + ["b"] * 4),
    "stacks": (BatchSplit(Stack("c", "b"), Stack("b", "a"), batch_sizes=3), ["b"] * 3 + ["a"] * 3),
    "a split in a stack": (Stack("c", BatchSplit("a", "b", batch_sizes=[1, 5])), ["a"] + ["b"] * 5),
    "a split in a split": (
        BatchSplit(BatchSplit("a", "b", batch_sizes=1), "a", batch_sizes=[2, 4]),
        ["a", "b"] + ["a"] * 4,
    ),
    "an empty run": (BatchSplit("a", "c", "b", batch_sizes=[3, 0, 3]), ["a"] * 3 + ["b"] * 3),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_setup_brings_the_heads_of_its_adapters(architecture, split):
    setup, heads = SPLITS[split]
    model = make(architecture, ["classification"] * 3)
    batch, labels = inputs(model, "classification")
    with AdapterSetup(setup):
        output = model(**batch, **labels)
        for part, rows in zip(output, output.rows, strict=True):
            (head,) = {heads[row] for row in rows}
            whole = model(**batch, head=head)
            assert_close(part.logits, whole.logits[list(rows)], head)
    assert sorted(row for rows in output.rows for row in rows) == list(range(6))
    model.set_active_adapters(setup)
    assert_same(model(**batch, **labels).head_outputs, output.head_outputs)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_rows_that_share_a_head_have_one_output(architecture):
    model = make(architecture, ["classification"] * 3)
    batch, labels = inputs(model, "classification")
    plain = model(**batch, **labels, adapter_names=["c", None, "c", None, None, "c"])
    assert not isinstance(plain, MultiHeadOutput)
    named = model(**batch, **labels, adapter_names=["c", None, "c", None, None, "c"], head=OTHER)
    assert_same(plain, named)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_gradients_are_the_sum_of_the_heads(architecture):
    model = make(architecture, ["classification"] * 3).train()
    batch, labels = inputs(model, "classification")
    model(**batch, **labels, adapter_names=ROWS).loss.backward()
    together = gradients(model)
    for head in (*OWN, OTHER):
        rows = [row for row, name in enumerate(ROWS) if OWN.get(name, OTHER) == head]
        own = {**rows_of(batch, rows), **rows_of(labels, rows)}
        model(**own, adapter_names=[ROWS[row] for row in rows], head=head).loss.backward()
    assert_gradients(together, gradients(model))


@pytest.mark.parametrize("architecture", DISTINCT)
def test_without_return_dict_each_head_still_answers(architecture):
    model = make(architecture, ["classification"] * 3)
    batch, labels = inputs(model, "classification")
    loss, parts, rows = model(**batch, **labels, adapter_names=ROWS, return_dict=False)
    output = model(**batch, **labels, adapter_names=ROWS)
    assert torch.equal(loss, output.loss)
    assert rows == output.rows
    assert_same(parts, output.head_outputs)
