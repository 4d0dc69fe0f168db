"""DeBERTa v2 may project distances as it projects tokens: what adapts the projection adapts both, as in the peer."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterzoo.archs import ARCHITECTURES
from tests.helpers.hf_models import Case
from tests.helpers.method_cases import CASES, MethodCase, each_method
from tests.helpers.peer_adapters import (
    add_random,
    hand_over,
    hidden,
    inputs_of,
    our_model,
    peer_model,
    real_positions,
    same,
    save_hf,
)
from tests.parity_adapters.conftest import Pair

KIND = ARCHITECTURES["deberta-v2"]
CHOSEN = {name: CASES[name] for name in ("lora", "lora-every-linear", "lora-gate", "lora-k-bert", "prefix", "bn")}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = save_hf(Case(KIND, None), tmp_path_factory.mktemp("shared"), share_att_key=True)
    return Pair(peer_model(KIND, folder), our_model(KIND, folder))


@each_method(CHOSEN)
def test_an_adapter_gives_the_same_outputs_in_both(pair: Pair, case: MethodCase, tmp_path: Path) -> None:
    name = f"a{len(pair.ours.adapters)}"
    add_random(pair.theirs, name, case.theirs)
    hand_over(pair.theirs, pair.ours, name, tmp_path)
    inputs = inputs_of(KIND, "none" if case.unpadded else "right")
    for model in pair:
        model.set_active_adapters(name)
    same(hidden(pair.ours, inputs), hidden(pair.theirs, inputs), real_positions(inputs))
