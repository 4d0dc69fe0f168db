"""Law 3, for heads that read the pooler: each row is pooled and answered as if alone, and gradients are so, too."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.batches import batch_for, rows_of
from tests.helpers.comparing import assert_close, assert_gradients, gradients
from tests.helpers.heads import add_head, labels_for, shaped
from tests.helpers.tiny import DISTINCT, tiny_model

KINDS = ("classification", "multilabel_classification", "multiple_choice", "next_sentence")
ROWS = ["b", "a", "b", "a"]
WAYS = ("a split", "a split of heads alone", "names")


def pooled(architecture):
    """The types of heads that read the pooler, in an architecture that has one."""
    model = tiny_model(architecture)
    return [] if model.base.pooler is None else [kind for kind in KINDS if kind in model.head_types]


CASES = [(name, kind) for name in DISTINCT for kind in pooled(name)]


def make(architecture, kind):
    """A model with adapters and heads "a" and "b", both heads on the pooler, and a batch with labels."""
    model = tiny_model(architecture)
    for name, config in {"a": "double_seq_bn", "b": "prefix_tuning"}.items():
        add_random(model, name, CONFIGS[config])
        add_head(model, kind, name, **({} if kind == "next_sentence" else {"use_pooler": True}))
        assert model.heads[name].reads_pooler
    batch = batch_for(model, rows=8 if kind == "multiple_choice" else 4)
    batch = shaped(kind, batch)
    return model.double(), batch, labels_for(model, kind, batch)


def together(model, batch, way):
    """The output over the batch, and each row's adapter."""
    if way == "names":
        return model(**batch, adapter_names=ROWS), ROWS
    split = BatchSplit("b", "a", batch_sizes=[1, 3])
    if way == "a split":
        with AdapterSetup(split):
            return model(**batch), ["b", "a", "a", "a"]
    model.active_head = split
    with AdapterSetup("a", head_setup=split):
        return model(**batch), ["b", "a", "a", "a"]


def alone(model, batch, row, head, adapter):
    """The output over one row."""
    with AdapterSetup(adapter):
        return model(**rows_of(batch, [row]), head=head)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_each_row_is_answered_as_it_is_alone(architecture, kind, way):
    model, batch, _ = make(architecture, kind)
    output, heads = together(model, batch, way)
    seen = []
    for part, rows in zip(output, output.rows, strict=True):
        assert len(part.logits) == len(rows)
        for logits, row in zip(part.logits, rows, strict=True):
            adapter = "a" if way == "a split of heads alone" else heads[row]
            assert_close(logits, alone(model, batch, row, heads[row], adapter).logits[0], f"row {row}")
            seen.append(row)
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_gradients_are_those_of_the_rows_alone(architecture, kind, way):
    model, batch, labels = make(architecture, kind)
    output, heads = together(model, {**batch, **labels}, way)
    output.loss.backward()
    found = gradients(model)
    assert "base.pooler.weight" in found
    for row, head in enumerate(heads):
        adapter = "a" if way == "a split of heads alone" else head
        part = alone(model, {**batch, **labels}, row, head, adapter).loss
        (part / heads.count(head)).backward()  # a head's loss is the mean over its rows
    assert_gradients(found, gradients(model))


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_labels_of_other_rows_do_not_matter(architecture, kind):
    model, batch, labels = make(architecture, kind)
    first = model(**batch, **labels, adapter_names=ROWS)
    changed = {name: torch.cat([value[:3], 1 - value[3:].clamp(max=1)]) for name, value in labels.items()}
    second = model(**batch, **changed, adapter_names=ROWS)
    same = [torch.equal(one.loss, other.loss) for one, other in zip(first, second, strict=True)]
    assert same == [3 not in rows for rows in first.rows]
