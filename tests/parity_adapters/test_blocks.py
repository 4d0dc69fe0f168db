"""Split, MultiTask and nested blocks give what the peer gives; where it does not keep the laws, they hold here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import adapterzoo
from adapterzoo import AdapterSetup
from adapterzoo.archs import Architecture
from tests.helpers.head_cases import each_with
from tests.helpers.method_cases import each_distinct
from tests.helpers.peer_adapters import adapters, distance, hidden, inputs_of, off, pre_norm, real_positions, same
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair
from tests.parity_adapters.test_compositions import add_all, names_of

Pairs = Callable[[Architecture], Pair]

SPLITS = (
    ("seq_bn", "seq_bn"),
    ("double_seq_bn", "double_seq_bn"),
    ("bn", "bn-own-ln-after"),
    ("par_bn", "scaled_par_bn"),
)
"""What acts on which columns: in the same places, and of one kind; else the peer errs."""

TASKED = (("double_seq_bn", "double_seq_bn"), ("lora", "lora"), ("prefix", "prefix-flat"))
TASKS = [1, 0, 1, 1]


def one_length(architecture: Architecture) -> dict[str, Tensor]:
    """Return a batch whose rows are as long in both stacks."""
    inputs = inputs_of(architecture)
    said = {f"decoder_{name}": inputs[name] for name in ("input_ids", "attention_mask")}
    alone = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
    return {**alone, **(said if "decoder_input_ids" in inputs else {})}


def blocks(pair: Pair, make: Callable[[Any], Any]) -> None:
    """Make a block active that is written by each library's classes."""
    pair.theirs.set_active_adapters(make(adapters().composition))
    pair.ours.set_active_adapters(make(adapterzoo))


@each_distinct
@pytest.mark.parametrize("cases", SPLITS, ids=names_of)
def test_a_split_is_what_the_peer_makes_of_it(
    pairs: Pairs, architecture: Architecture, cases: tuple[str, ...], tmp_path: Path
) -> None:
    pair = pairs(architecture)
    add_all(pair, cases, tmp_path)
    inputs = one_length(architecture)
    length = inputs["input_ids"].size(1)
    blocks(pair, lambda library: library.Split("n0", "n1", splits=[3, length - 3]))
    wanted, found = hidden(pair.theirs, inputs), hidden(pair.ours, inputs)
    where = inputs["attention_mask"].bool()
    same(found, wanted, where)
    pair.ours.set_active_adapters("n0")
    assert distance(hidden(pair.ours, inputs), wanted, where) > 0.01


@each_distinct
@pytest.mark.parametrize("cases", TASKED, ids=names_of)
def test_multitask_is_what_the_peer_makes_of_it(
    pairs: Pairs, architecture: Architecture, cases: tuple[str, ...], tmp_path: Path
) -> None:
    pair = pairs(architecture)
    if architecture.specialise is not None:
        pytest.skip("the peer does not hand task_ids on to the parts of a pair")
    add_all(pair, cases, tmp_path)
    blocks(pair, lambda library: library.MultiTask("n0", "n1"))
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    tasks = torch.tensor(TASKS)
    with torch.no_grad():
        wanted, found = (model(**inputs, task_ids=tasks)[0] for model in pair)
        assert distance(pair.ours(**inputs, task_ids=1 - tasks)[0], wanted, where) > 0.01
    same(found, wanted, where)


@each_distinct
def test_each_row_has_its_tasks_adapter_alone_and_the_peer_reads_twice_through_the_layer_norm(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    if architecture.specialise is not None or pre_norm(architecture):
        pytest.skip(
            "the peer does not hand task_ids on to a pair's parts; or no LayerNorm follows that is read through"
        )
    names = add_all(pair, ("seq_bn", "seq_bn"), tmp_path)
    blocks(pair, lambda library: library.MultiTask("n0", "n1"))
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    with torch.no_grad():
        wrong, found = (model(**inputs, task_ids=torch.tensor(TASKS))[0] for model in pair)
    law = torch.empty_like(found)
    for number, name in enumerate(names):
        rows = torch.tensor(TASKS) == number
        pair.theirs.set_active_adapters(name)
        law[rows] = hidden(pair.theirs, inputs)[rows]
    same(found, law, where)
    off(wrong, law, where)


@each_distinct
def test_splits_in_splits_are_what_the_peer_makes_of_them(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    add_all(pair, ("double_seq_bn",) * 3, tmp_path)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    blocks(
        pair,
        lambda library: library.BatchSplit(
            "n0", library.BatchSplit("n1", "n2", batch_sizes=[1, 2]), batch_sizes=[1, 3]
        ),
    )
    same(hidden(pair.ours, inputs), hidden(pair.theirs, inputs), where)


@each_distinct
@pytest.mark.parametrize("cases", [("double_seq_bn", "double_seq_bn"), ("lora", "lora")], ids=names_of)
def test_a_mean_is_the_weighted_sum_and_the_peer_divides_it_again(
    pairs: Pairs, architecture: Architecture, cases: tuple[str, ...], tmp_path: Path
) -> None:
    pair = pairs(architecture)
    add_all(pair, cases, tmp_path)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    pair.ours.adapters["n1"].load_state_dict(pair.ours.adapters["n0"].state_dict())
    twin = pair.theirs.get_adapter("n1"), pair.theirs.get_adapter("n0")
    for layer, places in twin[0].items():
        for place, module in places.items():
            module.load_state_dict(twin[1][layer][place].state_dict())
    blocks(pair, lambda library: library.Average("n0", "n1", weights=[1, 3]))
    found, wrong = hidden(pair.ours, inputs), hidden(pair.theirs, inputs)
    blocks(pair, lambda library: library.Stack("n0"))
    law = hidden(pair.theirs, inputs)
    same(found, law, where)
    off(wrong, law, where)


@each_distinct
@pytest.mark.parametrize("block", ["BatchSplit", "Split", "Average", "Parallel"])
def test_the_first_child_may_leave_out_layers_and_the_peer_then_fails(
    pairs: Pairs, architecture: Architecture, block: str, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    if architecture.specialise is not None:
        pytest.skip("the peer counts the layers of each part of a pair from 0")
    add_all(pair, ("bn-leave-out", "bn"), tmp_path)
    inputs = one_length(architecture)
    length = inputs["input_ids"].size(1)
    options: dict[str, Any] = {"BatchSplit": {"batch_sizes": 2}, "Split": {"splits": [3, length - 3]}}.get(block, {})
    blocks(pair, lambda library: getattr(library, block)("n0", "n1", **options))
    with pytest.raises((KeyError, RuntimeError)):
        hidden(pair.theirs, inputs)
    found = hidden(pair.ours, inputs)
    where = inputs["attention_mask"].bool()
    alone = []
    for name in ("n0", "n1"):
        pair.ours.set_active_adapters(name)
        alone.append(hidden(pair.ours, inputs))
    if block == "BatchSplit":
        same(found, torch.cat([alone[0][:2], alone[1][2:]]), where)
    if block == "Parallel":
        same(found, torch.cat(alone), torch.cat([where, where]))


@each_with("classification")
def test_heads_under_adapter_setup_have_their_rows_and_the_peers_have_not(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    for name, labels in (("n0", 2), ("n1", 3)):
        pair.theirs.add_classification_head(name, num_labels=labels)
        randomise(pair.theirs.heads[name])
    add_all(pair, ("seq_bn", "seq_bn"), tmp_path)
    inputs = {name: value for name, value in one_length(architecture).items() if not name.startswith("decoder_")}
    with adapters().AdapterSetup(adapters().composition.Parallel("n0", "n1")), torch.no_grad():
        try:
            theirs = pair.theirs(**inputs)
        except RuntimeError:
            pytest.skip("the peer's DeBERTa-v2 cannot repeat a batch")
    with AdapterSetup(adapterzoo.Parallel("n0", "n1")), torch.no_grad():
        ours = pair.ours(**inputs)
    assert [tuple(part.logits.shape) for part in ours] == [(4, 2), (4, 3)]
    assert [tuple(part.logits.shape) for part in getattr(theirs, "head_outputs", [theirs])] != [(4, 2), (4, 3)]
