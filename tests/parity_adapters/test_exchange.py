"""Adapters go through files from the peer to us and back, with the same outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapterzoo.archs import Architecture
from tests.helpers import adapting
from tests.helpers.method_cases import (
    CASES,
    DECODER_LAYERS,
    MethodCase,
    each_adapter,
    each_encoder_decoder,
    each_method,
)
from tests.helpers.peer_adapters import (
    add_random,
    distance,
    hand_over,
    hidden,
    inputs_of,
    is_copy,
    real_positions,
    same,
    sign_diagonals,
)
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

TOLD = {name: case for name, case in CASES.items() if case.told}


def same_outputs(pair: Pair, architecture: Architecture, unpadded: bool) -> None:
    """Both give the same with "a" active, and something else without."""
    inputs = inputs_of(architecture, "none" if unpadded else "right")
    where = real_positions(inputs)
    bare = hidden(pair.ours, inputs)
    for model in pair:
        model.set_active_adapters("a")
    theirs = hidden(pair.theirs, inputs)
    same(hidden(pair.ours, inputs), theirs, where)
    assert distance(bare, theirs, where) > 0.01


@each_adapter(TOLD)
def test_an_adapter_saved_by_the_peer_loads_here_and_gives_the_same_outputs(
    pairs: Pairs, architecture: Architecture, case: MethodCase, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    add_random(pair.theirs, "a", case.theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    assert pair.ours.adapters_config.get("a").to_dict() == case.ours.to_dict()
    same_outputs(pair, architecture, case.unpadded)


@each_adapter(TOLD)
def test_an_adapter_saved_here_loads_there_and_gives_the_same_outputs(
    pairs: Pairs, architecture: Architecture, case: MethodCase, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    adapting.add_random(pair.ours, "a", case.ours, std=0.1)
    sign_diagonals(dict(pair.ours.adapters["a"].named_parameters()))
    pair.ours.save_adapter(tmp_path, "a")
    report: dict[str, list[str]] = {}
    pair.theirs.load_adapter(str(tmp_path), use_safetensors=True, loading_info=report)
    assert not report["unexpected_keys"]
    assert all(is_copy(key, architecture) for key in report["missing_keys"])
    same_outputs(pair, architecture, case.unpadded)


@each_encoder_decoder
@each_method(DECODER_LAYERS)
def test_a_decoders_layers_are_counted_on_from_the_encoders(
    pairs: Pairs, architecture: Architecture, case: MethodCase, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    add_random(pair.theirs, "a", case.theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    same_outputs(pair, architecture, case.unpadded)
