"""Classes with a fixed head to compare with the peer `adapters`, and labelled inputs for them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.hf_batches import LABELS, inputs_for, labels_for
from tests.helpers.hf_models import CASES, Case
from tests.helpers.peer_adapters import adapters
from tests.helpers.tiny import DISTINCT

KINDS: dict[str, dict[str, Any]] = {
    "one of several": {"num_labels": LABELS},
    "number": {"num_labels": 1},
    "numbers": {"num_labels": LABELS, "problem_type": "regression"},
    "any of several": {"num_labels": LABELS, "problem_type": "multi_label_classification"},
}
"""What a classifier's config may say that it answers."""

_TWO = {"num_labels": 2}  # two choices, or a start and an end


@cache
def converted() -> set[str]:
    """Return the names of the classes whose heads the peer makes flexible."""
    adapters()
    from adapters.head_utils import STATIC_TO_FLEX_HEAD_MAP

    return set(STATIC_TO_FLEX_HEAD_MAP)


def fixed(head_types: set[str] | None = None) -> list[Case]:
    """Return our classes with a fixed head, all that an encoder's or an encoder-decoder's adapters fit."""
    found = [case for case in CASES if case.static is not None and not case.static.decoder_only]
    return [case for case in found if head_types is None or case.head_type in head_types]


def each_fixed(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrise a test over classes and what their configs may say, a classifier's once for each kind of answer."""
    both = [
        pytest.param(case, changes, id=f"{case.name}-{kind}")
        for case in cases
        for kind, changes in _kinds(case).items()
    ]
    return pytest.mark.parametrize(("case", "changes"), both)


def _kinds(case: Case) -> dict[str, dict[str, Any]]:
    """By a name for reports; one where another architecture has the same code and tables."""
    every = case.head_type == "classification" and case.architecture.model_type in DISTINCT
    return KINDS if every else {"usual": _usual(case)}


def _usual(case: Case) -> dict[str, Any]:
    return KINDS["one of several"] if case.head_type in ("classification", "tagging") else _TWO


def labelled(case: Case, config: Any) -> dict[str, Tensor]:
    """Return inputs with labels. Questions have no padding, for here padding is never an answer."""
    inputs = inputs_for(case, config, "none" if case.head_type == "question_answering" else "right")
    labels = labels_for(case, config, inputs)
    rows = inputs["input_ids"].size(0)
    if config.problem_type == "multi_label_classification":
        labels["labels"] = torch.randint(2, (rows, config.num_labels)).float()
    elif config.problem_type == "regression" or config.num_labels == 1:
        labels["labels"] = torch.randn(rows, config.num_labels)
    return {**inputs, **labels}
