"""Gates in the outputs are the peer's, by the same names, layers and places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import adapterzoo
from adapterzoo.archs import Architecture
from tests.helpers.fusion_cases import tensors_of_outputs
from tests.helpers.method_cases import CASES, MethodCase, each_distinct, each_method
from tests.helpers.peer_adapters import adapters, add_random, hand_over, inputs_of, same, skip_if_elsewhere
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

GATED = {name: case for name, case in CASES.items() if "'use_gating': True" in str(case.ours.to_dict())}


@each_distinct
@each_method(GATED)
def test_gates(pairs: Pairs, architecture: Architecture, case: MethodCase, tmp_path: Path) -> None:
    skip_if_elsewhere(architecture, case.ours)
    if architecture.specialise is not None:
        pytest.skip("the peer counts the layers of each part of a pair from 0")
    theirs, ours = pairs(architecture)
    add_random(theirs, "a", case.theirs)
    hand_over(theirs, ours, "a", tmp_path)
    inputs = inputs_of(architecture, "none")
    for model in (theirs, ours):
        model.set_active_adapters("a")
    told = [model(**inputs, output_adapter_gating_scores=True).adapter_gating_scores for model in (theirs, ours)]
    wanted, found = map(tensors_of_outputs, told)
    wanted = {(*key, {"self": "self_prefix"}.get(place, place)): gates for (*key, place), gates in wanted.items()}
    assert wanted
    assert set(found) == set(wanted)
    for place, gates in wanted.items():
        same(found[place], gates)


@each_distinct
def test_gates_of_a_batch_split_are_those_of_each_adapters_rows(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    if architecture.specialise is not None:
        pytest.skip("the peer counts the layers of each part of a pair from 0")
    theirs, ours = pairs(architecture)
    for name in ("a", "b"):
        add_random(theirs, name, CASES["bn-gate"].theirs)
        hand_over(theirs, ours, name, tmp_path / name)
    inputs = inputs_of(architecture, "none")
    theirs.set_active_adapters(adapters().BatchSplit("a", "b", batch_sizes=[3, 1]))
    ours.set_active_adapters(adapterzoo.BatchSplit("a", "b", batch_sizes=[3, 1]))
    told = [model(**inputs, output_adapter_gating_scores=True).adapter_gating_scores for model in (theirs, ours)]
    wanted, found = map(tensors_of_outputs, told)
    assert set(found) == set(wanted)
    for (name, layer, place), gates in wanted.items():
        same(found[name, layer, place], gates)
        assert gates.shape == ((3,) if name == "a" else (1,))
