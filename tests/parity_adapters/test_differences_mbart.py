"""mBART: no LayerNorm follows its joins; and whose turn it is among several heads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.answers import answer
from tests.helpers.head_cases import HEAD_CASES
from tests.helpers.method_cases import CASES, each_method
from tests.helpers.peer_adapters import (
    adapters,
    add_random,
    hand_over,
    hidden,
    inputs_of,
    off,
    pre_norm,
    real_positions,
    same,
)
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

MBART = ARCHITECTURES["mbart"]
POST_ADD = {name: CASES[name] for name in ("bn-post-add", "bn-post-add-alone")}


@pytest.fixture
def pair(pairs: Callable[[Architecture], Pair]) -> Pair:
    return pairs(MBART)


@each_method(POST_ADD)
def test_the_sum_before_a_norm_that_is_not_there_is_the_sum_after_it(pair: Pair, case, tmp_path: Path) -> None:
    assert pre_norm(MBART)
    after = {**case.theirs.to_dict(), "residual_before_ln": False}
    add_random(pair.theirs, "after", adapters().AdapterConfig.load(after))
    hand_over(pair.theirs, pair.ours, "after", tmp_path)
    pair.ours.add_adapter("sum", case.ours)
    pair.ours.adapters["sum"].load_state_dict(pair.ours.adapters["after"].state_dict())
    pair.theirs.add_adapter("sum", config=case.theirs)
    inputs = inputs_of(MBART)
    pair.theirs.set_active_adapters("after")
    law = hidden(pair.theirs, inputs)
    for model in pair:
        model.set_active_adapters("sum")
    same(hidden(pair.ours, inputs), law, real_positions(inputs))
    with pytest.raises(UnboundLocalError, match="residual"):
        hidden(pair.theirs, inputs)


def test_a_head_that_reads_the_last_eos_does_so_whichever_head_came_first(pair: Pair, tmp_path: Path) -> None:
    inputs = HEAD_CASES["classification"].inputs(MBART)
    HEAD_CASES["classification"].add(pair.theirs, "rows")
    randomise(pair.theirs.heads["rows"])
    law = answer(pair.theirs, inputs)
    pair.theirs.save_head(str(tmp_path), "rows")
    pair.theirs.delete_head("rows")
    for model in pair:
        HEAD_CASES["qa"].add(model, "first")
        model.load_head(str(tmp_path))
        model.active_head = "rows"
    same(answer(pair.ours, inputs).logits, law.logits)
    off(answer(pair.theirs, inputs).logits, law.logits)
