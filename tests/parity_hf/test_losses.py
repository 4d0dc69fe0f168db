"""Every loss that transformers has; and the two in which padding counts there and, by intent, not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.hf_batches import ROWS, batch
from tests.helpers.hf_compare import close, same_gradients, same_output
from tests.helpers.hf_models import Case, cases, each, pair

WHOLE, YES_OR_NO, NUMBERS = "whole numbers", "yes or no", "numbers"
PROBLEMS = [
    ("regression", 1, NUMBERS),
    (None, 1, NUMBERS),
    ("regression", 3, NUMBERS),
    (None, 3, YES_OR_NO),
    ("multi_label_classification", 3, YES_OR_NO),
    ("multi_label_classification", 1, YES_OR_NO),
    (None, 3, WHOLE),
    ("single_label_classification", 3, WHOLE),
]
SPANS = cases("question_answering")
TAGS_OR_WORDS = cases("tagging", "masked_lm", "causal_lm", "pretraining")


def labels_of(kind: str, labels: int) -> Tensor:
    if kind == WHOLE:
        return torch.randint(labels, (ROWS,))
    if kind == YES_OR_NO:
        return torch.randint(2, (ROWS, labels)).float()
    return torch.randn(ROWS) if labels == 1 else torch.randn(ROWS, labels)


# Transformers' DeBERTa reads such labels in ways of its own: test_deberta.py
OWN_WAYS = [(None, 1, NUMBERS), (None, 3, YES_OR_NO)]


@pytest.mark.parametrize(
    ("case", "problem", "labels", "kind"),
    [(case, *one) for case in cases("classification") for one in PROBLEMS if not (case.distant and one in OWN_WAYS)],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_kind_of_problem_has_transformers_loss(
    case: Case, problem: str | None, labels: int, kind: str, tmp_path: Path
) -> None:
    theirs, ours = pair(case, tmp_path, num_labels=labels, problem_type=problem)
    call = {**batch(theirs.config), "labels": labels_of(kind, labels)}
    outputs = [model(**call) for model in (theirs, ours)]
    same_output(outputs[1], outputs[0], encoder_mask=call["attention_mask"])
    for output in outputs:
        output["loss"].backward()
    same_gradients(ours, theirs)


@each(cases("classification"))
def test_one_class_has_transformers_loss_which_is_none(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path, num_labels=1, problem_type="single_label_classification")
    call = {**batch(theirs.config), "labels": labels_of(WHOLE, 1)}
    with torch.no_grad():
        same_output(ours(**call), theirs(**call), encoder_mask=call["attention_mask"])


@each(cases("classification"))
def test_a_row_of_one_number_each_is_a_regression_too(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path, num_labels=1)
    call = {**batch(theirs.config), "labels": torch.randn(ROWS, 1)}
    with torch.no_grad():
        close(ours(**call).loss, theirs(**call).loss)


@each(SPANS)
def test_a_span_has_transformers_loss_without_padding(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path)
    call = batch(theirs.config, "none")
    length = call["input_ids"].size(1)
    starts = torch.tensor([3, -1, length, length + 5])  # the row's, before it, beyond it
    ends = torch.tensor([[4], [length - 1], [0], [length]])  # with a dimension of 1, as some datasets have it
    with torch.no_grad():
        call |= {"start_positions": starts, "end_positions": ends}
        same_output(ours(**call), theirs(**call))


def alone(call: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """One row without its padding."""
    length = int(call["attention_mask"][row].sum())
    return {"input_ids": call["input_ids"][row : row + 1, :length]}


@each(SPANS)
@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
def test_a_spans_loss_in_a_padded_batch_is_that_of_its_row_alone(
    case: Case, padding_free: bool, tmp_path: Path
) -> None:
    theirs, ours = pair(case, tmp_path)
    ours.padding_free = padding_free
    call = batch(theirs.config)
    lengths = call["attention_mask"].sum(1)
    spans = {"start_positions": lengths // 2, "end_positions": lengths - 1}
    with torch.no_grad():
        rows = [theirs(**alone(call, row), **{k: v[row, None] for k, v in spans.items()}).loss for row in range(ROWS)]
        close(ours(**call, **spans).loss, torch.stack(rows).mean())
        assert (theirs(**call, **spans).loss - torch.stack(rows).mean()).abs() > 1e-3, "the difference is gone"


@each(SPANS)
def test_a_span_that_lies_in_padding_is_passed_over(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path)
    call = batch(theirs.config)
    lengths = call["attention_mask"].sum(1)
    inside = torch.tensor([True, False, True, True])
    spans = {name: torch.where(inside, lengths - 1, lengths) for name in ("start_positions", "end_positions")}
    with torch.no_grad():
        rows = [
            theirs(**alone(call, row), **{name: value[row, None] for name, value in spans.items()}).loss
            for row in inside.nonzero().flatten().tolist()
        ]
        close(ours(**call, **spans).loss, torch.stack(rows).mean())


@each(TAGS_OR_WORDS)
@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
def test_labels_of_padding_do_not_count(case: Case, padding: str, padding_free: bool, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path)
    ours.padding_free = padding_free
    call: dict[str, Any] = batch(theirs.config, padding)
    mask = call["attention_mask"].bool()
    labels = torch.randint(theirs.config.num_labels, mask.shape)
    if case.head_type == "pretraining":
        call["next_sentence_label"] = torch.randint(2, (ROWS,))
    counted = mask
    if padding == "left" and ours.head.config.get("shift_labels"):
        counted = mask & mask.roll(1, 1)  # nor is a row's first token predicted from padding
    with torch.no_grad():
        logits = next(value for value in theirs(**call).values() if value.dim() == 3)
        labels = torch.where(counted, labels, logits.argmin(-1))  # what would make a difference
        expected = theirs(**call, labels=labels.masked_fill(~counted, -100)).loss
        close(ours(**call, labels=labels).loss, expected)
        assert (theirs(**call, labels=labels).loss - expected).abs() > 3e-5, "the difference is gone"
