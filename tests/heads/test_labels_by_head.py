"""Several heads in one call: each has labels of its own, over all rows or over its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import adapterzoo as az
from adapterzoo.heads.run import run_by_rows
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for, rows_of
from tests.helpers.comparing import assert_close, assert_same
from tests.helpers.heads import add_head, head_types, labels_for
from tests.helpers.tiny import NAMES, tiny_model

ROWS = 6
WITH_TAGS = [name for name in NAMES if "tagging" in head_types(tiny_model(name))]
CLASSIFYING = [name for name in NAMES if "classification" in head_types(tiny_model(name))]


def make(architecture: str, *kinds: str) -> tuple[Any, dict[str, Tensor]]:
    """A model with heads "a", "b", … of these types, and a batch."""
    model = tiny_model(architecture).eval()
    for name, kind in zip("abcd", kinds, strict=False):
        add_random(model, name, "lora[r=4]")
        add_head(model, kind, name)
    return model.double(), batch_for(model, rows=ROWS, decoder=False)


def own(model: Any, batch: dict[str, Tensor], kinds: dict[str, str]) -> dict[str, dict[str, Tensor]]:
    """Labels of every head, by argument and head's name."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, kind in kinds.items():
        for argument, value in labels_for(model, kind, batch).items():
            found.setdefault(argument, {})[name] = value
    return found


@pytest.mark.parametrize("architecture", WITH_TAGS)
def test_heads_over_all_rows_take_their_own_labels(architecture: str) -> None:
    kinds = {"a": "classification", "b": "tagging", "c": "question_answering"}
    model, batch = make(architecture, *kinds.values())
    labels = own(model, batch, kinds)
    both = model(**batch, head=list(kinds), **labels)
    alone = [
        model(**batch, head=name, **{key: value[name] for key, value in labels.items() if name in value})
        for name in kinds
    ]
    for found, expected in zip(both, alone, strict=True):
        assert_same(found, expected)
    assert_close(both.loss, sum(part.loss for part in alone))
    listed = {key: [value.get(name) for name in kinds] for key, value in labels.items()}
    assert_same(model(**batch, head=list(kinds), **listed).loss, both.loss)


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_a_head_without_an_entry_has_no_loss(architecture: str) -> None:
    model, batch = make(architecture, "classification", "classification")
    labels = torch.randint(3, (ROWS,))
    output = model(**batch, head=["a", "b"], labels={"b": labels})
    assert output[0].loss is None
    assert torch.equal(output.loss, output[1].loss)
    assert_same(model(**batch, head=["a", "b"], labels=[None, labels]).loss, output.loss)


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_in_a_split_an_entry_holds_all_rows_or_just_the_heads(architecture: str) -> None:
    model, batch = make(architecture, "classification", "multilabel_classification")
    a, b = torch.randint(3, (ROWS,)), torch.randint(2, (ROWS, 3)).float()
    split = az.BatchSplit("a", "b", batch_sizes=[2, 4])
    alone = model(**rows_of(batch, [0, 1]), head="a", labels=a[:2]).loss
    alone = alone + model(**rows_of(batch, [2, 3, 4, 5]), head="b", labels=b[2:]).loss
    for labels in ({"a": a, "b": b}, [a, b], {"a": a[:2], "b": b[2:]}, (a[:2], b)):
        assert_close(model(**batch, head=split, labels=labels).loss, alone, str(type(labels)))


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_a_head_that_answers_twice_has_one_entry_by_name_and_two_in_a_list(architecture: str) -> None:
    model, batch = make(architecture, "classification", "classification")
    split = az.BatchSplit("a", "b", "a", batch_sizes=[1, 2, 3])
    labels = torch.randint(3, (ROWS,))
    expected = model(**batch, head=split, labels=labels)
    by_name = {"a": labels[[0, 3, 4, 5]], "b": labels[1:3]}
    for given in (by_name, [labels[:1], labels[1:3], labels[3:]]):
        found = model(**batch, head=split, labels=given)
        assert_same(found.head_outputs, expected.head_outputs)
        assert torch.equal(found.loss, expected.loss)


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_under_parallel_each_child_has_its_own_labels_for_the_whole_batch(architecture: str) -> None:
    kinds = {"a": "classification", "b": "multilabel_classification"}
    model, batch = make(architecture, *kinds.values())
    labels = own(model, batch, kinds)["labels"]
    model.set_active_adapters(az.Parallel("a", "b"))
    output = model(**batch, labels=labels)
    for name, part in zip("ab", output, strict=True):
        with az.AdapterSetup(name):
            alone = model(**batch, labels=labels[name])
        assert_close(part.loss, alone.loss, name)
        assert_close(part.logits, alone.logits, name)
    listed = model(**batch, labels=list(labels.values()))
    assert_same(listed.head_outputs, output.head_outputs)
    assert torch.equal(output.logits, torch.cat([part.logits for part in output]))


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_with_a_name_for_each_row_entries_are_in_the_callers_order(architecture: str) -> None:
    model, batch = make(architecture, "classification", "multilabel_classification", "classification")
    model.delete_head("a")
    add_head(model.float(), "classification", "other")  # active: it answers for "a" and for rows without an adapter
    model.double()
    names = ["b", "c", "a", "b", None, "a"]
    b, c, other = torch.randint(2, (ROWS, 3)).float(), torch.randint(3, (ROWS,)), torch.randint(3, (ROWS,))
    full = model(**batch, adapter_names=names, labels={"b": b, "c": c, "other": other})
    mine = {"b": b[[0, 3]], "c": c[[1]], "other": other[[2, 4, 5]]}
    found = model(**batch, adapter_names=names, labels=mine)
    assert_same(found.head_outputs, full.head_outputs)
    assert torch.equal(found.loss, full.loss)
    for rows, head, labels in (([0, 3], "b", b), ([1], "c", c), ([2, 4, 5], "other", other)):
        part = next(output for output, own in zip(full, full.rows, strict=True) if sorted(own) == rows)
        own = [names[row] for row in rows]
        alone = model(**rows_of(batch, rows), adapter_names=own, head=head, labels=labels[rows])
        assert_close(part.loss, alone.loss, head)


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_with_a_name_for_each_row_a_batch_of_one_head_takes_labels_by_name_too(architecture: str) -> None:
    model, batch = make(architecture, "classification", "classification")
    labels = torch.randint(3, (ROWS,))
    named = model(**batch, adapter_names=["a"] * ROWS, labels={"a": labels})
    assert_same(named, model(**batch, adapter_names=["a"] * ROWS, labels=labels))


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_a_list_of_heads_may_be_active_and_is_saved(architecture: str, tmp_path: Path) -> None:
    model, batch = make(architecture, "classification", "classification")
    model.float()
    expected = model(**batch, head=["a", "b"])
    model.active_head = ["a", "b"]
    assert_same(model(**batch).head_outputs, expected.head_outputs)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.active_head == ["a", "b"]
    assert_same(loaded(**batch).head_outputs, expected.head_outputs)


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_without_return_dict_a_list_of_heads_is_a_tuple(architecture: str) -> None:
    model, batch = make(architecture, "classification", "classification")
    labels = torch.randint(3, (ROWS,))
    output = model(**batch, head=["a", "b"], labels=labels)
    loss, parts, rows = model(**batch, head=["a", "b"], labels=labels, return_dict=False)
    assert torch.equal(loss, output.loss)
    assert_same(parts, output.head_outputs)
    assert rows == (tuple(range(ROWS)),) * 2


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_logits_of_heads_that_share_rows_follow_each_other(architecture: str) -> None:
    model, batch = make(architecture, "classification", "multilabel_classification")
    output = model(**batch, head=["b", "a"])
    assert torch.equal(output.logits, torch.cat([output[0].logits, output[1].logits]))
    add_head(model, "classification", "wide", num_labels=5)
    model.double()
    mixed = model(**batch, head=["a", "wide"]).logits
    assert [len(row) for row in mixed] == [3] * ROWS + [5] * ROWS


@pytest.mark.parametrize("architecture", CLASSIFYING)
def test_runs_over_repeated_rows_each_read_the_same_labels(architecture: str) -> None:
    model, batch = make(architecture, "classification", "multilabel_classification", "classification")
    twice = {name: torch.cat([tensor, tensor]) for name, tensor in batch.items()}
    seen: list[Any] = []
    model.heads["a"].register_forward_pre_hook(lambda head, given: seen.append(given[0]))
    model(**twice, head="a")
    heads, labels = [model.heads["a"], model.heads["c"]], torch.randint(3, (ROWS,))
    output = run_by_rows(heads, (ROWS, ROWS), [*range(ROWS), *range(ROWS)], seen[0], None, {"labels": labels})
    for name, part in zip("ac", output, strict=True):
        alone = model(**batch, head=name, labels=labels)
        assert_close(part.logits, alone.logits, name)
        assert_close(part.loss, alone.loss, name)
    assert output.rows == (tuple(range(ROWS)),) * 2
    assert torch.equal(output.logits, torch.cat([part.logits for part in output]))
    each = {"a": labels, "c": labels.flip(0)}
    again = run_by_rows(heads, (ROWS, ROWS), [*range(ROWS), *range(ROWS)], seen[0], None, {"labels": each})
    assert_close(again[1].loss, model(**batch, head="c", labels=labels.flip(0)).loss)


@pytest.mark.parametrize("architecture", [name for name in NAMES if "seq2seq_lm" in head_types(tiny_model(name))])
def test_what_one_of_several_heads_should_say_is_what_the_decoder_reads(architecture: str) -> None:
    model, batch = make(architecture, "similarity", "seq2seq_lm")
    said = labels_for(model, "seq2seq_lm", batch)["labels"]
    output = model(**batch, head=["a", "b"], labels={"b": said})
    assert_same(output[1], model(**batch, head="b", labels=said))
