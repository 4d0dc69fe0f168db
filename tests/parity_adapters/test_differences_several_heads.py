"""Several heads at once: the law holds here, and in the peer it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.answers import answer
from tests.helpers.head_cases import HeadCase
from tests.helpers.peer_adapters import adapters, inputs_of, same
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]
BERT = ARCHITECTURES["bert"]
POOLED = {"use_pooler": True, "layers": 1}


@pytest.fixture
def two(pairs: Pairs, tmp_path: Path, request: pytest.FixtureRequest) -> Pair:
    """Both models with the same heads "p" and "q", with settings from the test."""
    pair = pairs(BERT)
    for name in "pq":
        HeadCase("classification", "classification", request.param).add(pair.theirs, name)
        randomise(pair.theirs.heads[name])
        pair.theirs.save_head(str(tmp_path / name), name)
        pair.ours.load_head(tmp_path / name)
    return pair


def split(library: Any) -> Any:
    return library.BatchSplit("p", "q", batch_sizes=[3, 1])


@pytest.mark.parametrize("two", [POOLED], indirect=True)
def test_heads_on_the_pooler_learn_from_their_own_rows(two: Pair) -> None:
    inputs, labels = inputs_of(BERT), torch.tensor([0, 1, 1, 0])
    losses = []
    for name, rows in {"p": slice(0, 3), "q": slice(3, 4)}.items():
        two.theirs.active_head = name
        part = {key: value[rows] for key, value in inputs.items()}
        losses.append(answer(two.theirs, {**part, "labels": labels[rows]}).loss)
    two.ours.active_head = split(adapterzoo)
    same(answer(two.ours, {**inputs, "labels": labels}).loss, sum(losses))
    two.theirs.active_head = split(adapters())
    with pytest.raises(ValueError, match="batch_size"):
        answer(two.theirs, {**inputs, "labels": labels})


@pytest.mark.parametrize("two", [{}], indirect=True)
def test_losses_of_a_list_of_heads_add_up_each_with_its_own_labels(two: Pair) -> None:
    inputs = inputs_of(BERT)
    labels = {"p": torch.tensor([0, 1, 1, 0]), "q": torch.tensor([1, 1, 0, 0])}
    losses = []
    for name in "pq":
        two.theirs.active_head = name
        losses.append(answer(two.theirs, {**inputs, "labels": labels[name]}).loss)
    for model in (two.ours, two.theirs):
        model.active_head = ["p", "q"]
    with torch.no_grad():
        same(two.ours(**inputs, labels=labels).loss, sum(losses))
    assert answer(two.theirs, {**inputs, "labels": labels["p"]}).loss is None
    ours, theirs = answer(two.ours, inputs), answer(two.theirs, inputs)
    same(ours.logits, theirs.logits)


@pytest.mark.parametrize("two", [{}], indirect=True)
def test_an_average_has_the_weights_that_its_heads_are_given_with(two: Pair) -> None:
    two.ours.average_head("mean", {"p": 1.0, "q": 3.0})
    p, q = (two.theirs.heads[name].state_dict() for name in "pq")
    for name, tensor in two.ours.heads["mean"].state_dict().items():
        same(tensor, 0.25 * p[name] + 0.75 * q[name])
    with pytest.raises(KeyError):
        two.theirs.average_head("mean", {"p": 1.0, "q": 3.0})
