"""Stack and BatchSplit give what the peer gives, where the peer keeps the laws (docs/differences.md has the rest)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import adapterzoo
from adapterzoo.archs import Architecture
from tests.helpers.answers import answer
from tests.helpers.head_cases import each_with
from tests.helpers.method_cases import CASES, each_distinct
from tests.helpers.peer_adapters import (
    adapters,
    add_random,
    distance,
    hand_over,
    hidden,
    inputs_of,
    real_positions,
    same,
)
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

STACKS = (
    ("seq_bn", "seq_bn"),
    ("double_seq_bn", "double_seq_bn"),
    ("seq_bn", "double_seq_bn"),
    ("double_seq_bn", "seq_bn", "bn"),
    ("bn-after-ln-alone", "bn-own-lns"),
    ("bn", "adapter-plus"),
    ("bn-leave-out", "bn-post-add", "bn-cross-only"),
    ("prefix", "prefix"),
    ("prefix-flat", "prefix_tuning", "prefix-leave-out"),
    ("prefix-gate", "prefix-gates"),
    ("lora-every-linear", "double_seq_bn", "prefix"),
    ("prefix", "lora", "par_bn"),
)
"""What lies on top of what; of two LoRAs and of two parallel bottlenecks the peer loses something."""

SPLITS = (
    ("seq_bn", "seq_bn"),
    ("bn", "bn-own-ln-after", "bn-by-layer"),
    ("par_bn", "scaled_par_bn"),
    ("bn-after-ln-alone", "bn-after-ln-alone"),
    ("lora", "lora"),
    ("lora-every-linear", "lora-every-linear"),
    ("lora-gate", "lora-gate"),
    ("prefix", "prefix-flat"),
    ("prefix-gelu", "prefix-gate", "prefix-gates"),
)
"""What acts on which rows, all of one kind, in the same places and, if prefixes, of one length: else the peer errs."""


def names_of(cases: tuple[str, ...]) -> str:
    """Return a name for reports."""
    return "+".join(cases)


def add_all(pair: Pair, cases: tuple[str, ...], folder: Path) -> list[str]:
    """Give both models the same adapters, and return their names."""
    names = [f"n{number}" for number in range(len(cases))]
    for name, case in zip(names, cases, strict=True):
        add_random(pair.theirs, name, CASES[case].theirs)
        hand_over(pair.theirs, pair.ours, name, folder / name)
    return names


def compare(pair: Pair, architecture: Architecture, cases: tuple[str, ...], block: str, *args: object) -> None:
    """Both give the same under the block, and each of its adapters matters."""
    inputs = inputs_of(architecture, "none" if any(CASES[case].unpadded for case in cases) else "right")
    where = real_positions(inputs)
    theirs, ours = pair
    theirs.set_active_adapters(getattr(adapters().composition, block)(*args[0], **args[1]))
    ours.set_active_adapters(getattr(adapterzoo, block)(*args[0], **args[1]))
    wanted, found = hidden(theirs, inputs), hidden(ours, inputs)
    same(found, wanted, where)
    ours.set_active_adapters(args[0][0])
    assert distance(hidden(ours, inputs), wanted, where) > 0.01


@each_distinct
@pytest.mark.parametrize("cases", STACKS, ids=names_of)
def test_a_stack_is_what_the_peer_makes_of_it(
    pairs: Pairs, architecture: Architecture, cases: tuple[str, ...], tmp_path: Path
) -> None:
    pair = pairs(architecture)
    names = add_all(pair, cases, tmp_path)
    compare(pair, architecture, cases, "Stack", names, {})


@each_distinct
@pytest.mark.parametrize("cases", SPLITS, ids=names_of)
def test_a_batch_split_is_what_the_peer_makes_of_it(
    pairs: Pairs, architecture: Architecture, cases: tuple[str, ...], tmp_path: Path
) -> None:
    pair = pairs(architecture)
    names = add_all(pair, cases, tmp_path)
    sizes = [3, 1] if len(names) == 2 else [1, 2, 1]
    compare(pair, architecture, cases, "BatchSplit", names, {"batch_sizes": sizes})


@each_with("classification")
def test_heads_of_a_batch_split_have_their_own_rows_and_their_losses_are_added(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    theirs, ours = pair = pairs(architecture)
    for name, labels in (("n0", 2), ("n1", 3)):
        theirs.add_classification_head(name, num_labels=labels)
        randomise(theirs.heads[name])
    add_all(pair, ("seq_bn", "seq_bn"), tmp_path)
    theirs.set_active_adapters(adapters().BatchSplit("n0", "n1", batch_sizes=[3, 1]))
    ours.set_active_adapters(adapterzoo.BatchSplit("n0", "n1", batch_sizes=[3, 1]))
    inputs = {n: v for n, v in inputs_of(architecture).items() if not n.startswith("decoder_")}
    inputs["labels"] = torch.tensor([0, 1, 0, 2])
    found, wanted = answer(ours, inputs), answer(theirs, inputs)
    same(found.loss, wanted.loss)
    for mine, peers in zip(found.head_outputs, wanted.head_outputs, strict=True):
        same(mine.logits, peers.logits)
