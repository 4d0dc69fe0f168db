"""Whatever two encoders a pair is made of, its adapters go through files in both directions with the same outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterzoo.archs import Architecture
from tests.helpers import adapting
from tests.helpers.method_cases import CASES
from tests.helpers.parts import ENCODERS
from tests.helpers.peer_adapters import (
    add_random,
    hand_over,
    hidden,
    inputs_of,
    is_prefix_copy,
    real_positions,
    same,
)
from tests.helpers.peer_pairs import BLIND, PAIR, pair_of
from tests.helpers.tiny import DISTINCT

METHODS = ("bn", "lora-every-linear", "prefix")
PARTS = [kind for kind in ENCODERS if kind.model_type in DISTINCT]
DECODERS = [kind for kind in PARTS if any(static.head_type == "causal_lm" for static in kind.statics)]
PAIRS = [(encoder, DECODERS[number % len(DECODERS)]) for number, encoder in enumerate(PARTS)]
each_pair = pytest.mark.parametrize(
    ("encoder", "decoder"), [pytest.param(*pair, id="-".join(kind.name for kind in pair)) for pair in PAIRS]
)


@each_pair
def test_adapters_of_a_pair_go_both_ways(encoder: Architecture, decoder: Architecture, tmp_path: Path) -> None:
    theirs, ours = pair_of(encoder, decoder, tmp_path / "model")
    inputs = inputs_of(PAIR, "none" if decoder.model_type in BLIND else "right")
    where = real_positions(inputs)
    for name in METHODS:
        if "lora" in name and "attn.q" in encoder.places:
            continue  # it acts on other rows of DeBERTa's fused projection (test_differences_deberta)
        add_random(theirs, name, CASES[name].theirs)
        hand_over(theirs, ours, name, tmp_path / name)
        for model in (theirs, ours):
            model.set_active_adapters(name)
        same(hidden(ours, inputs), hidden(theirs, inputs), where)
        adapting.add_random(ours, f"{name}-here", CASES[name].ours)
        ours.save_adapter(tmp_path / "ours" / name, f"{name}-here")
        report: dict[str, list[str]] = {}
        theirs.load_adapter(str(tmp_path / "ours" / name), use_safetensors=True, loading_info=report)
        assert not report["unexpected_keys"] and all(map(is_prefix_copy, report["missing_keys"]))
        for model in (theirs, ours):
            model.set_active_adapters(f"{name}-here")
        same(hidden(ours, inputs), hidden(theirs, inputs), where)
