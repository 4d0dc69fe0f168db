"""Heads under a prompt: with published adapters they answer the same, however the batch is padded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.head_cases import HEAD_CASES
from tests.helpers.method_cases import CASES, MethodCase, each_method
from tests.helpers.peer_adapters import (
    add_random,
    hand_over,
    has_prompts,
    hidden,
    inputs_of,
    peer_heads,
    real_positions,
    same,
)
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

each_with_prompts = pytest.mark.parametrize(
    "architecture", [pytest.param(kind, id=kind.name) for kind in ARCHITECTURES.values() if has_prompts(kind)]
)
PROMPTS = {name: CASES[name] for name in ("prompt", "prompt-after-bos")}
POOLED = ("classification", "classification-pooler", "multilabel", "choice")
"""Heads that read a row's first position."""


@each_with_prompts
@each_method(PROMPTS)
@pytest.mark.parametrize("head", POOLED)
def test_heads_that_read_a_rows_first_position_read_it_where_the_peer_does(
    pairs: Pairs, architecture: Architecture, case: MethodCase, head: str, tmp_path: Path
) -> None:
    pair, kind = pairs(architecture), HEAD_CASES[head]
    if not kind.fits(architecture) or kind.kind not in peer_heads(architecture):
        pytest.skip("no such head here, or there")
    add_random(pair.theirs, "a", case.theirs)
    kind.add(pair.theirs, "a")
    randomise(pair.theirs.heads["a"])
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    inputs = {name: tensor for name, tensor in kind.inputs(architecture).items() if name != "labels"}
    for model in pair:
        model.set_active_adapters("a")
    same(pair.ours(**inputs).logits.detach(), pair.theirs(**inputs).logits.detach())


@each_with_prompts
def test_padding_on_the_left_is_passed_over(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    pair = pairs(architecture)
    add_random(pair.theirs, "a", CASES["prompt"].theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    inputs = inputs_of(architecture, "left")
    for model in pair:
        model.set_active_adapters("a")
    same(hidden(pair.ours, inputs), hidden(pair.theirs, inputs), real_positions(inputs))
