"""Flexible heads go through files from the peer to us and back: same tensors, logits, losses and labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.answers import answer, same_answers
from tests.helpers.head_cases import HEAD_CASES, HeadCase, each_head
from tests.helpers.peer_adapters import add_random, our_model, peer_heads, peer_model
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]


ELSEWHERE = {"dependency_parsing"}  # test_dependency.py


def test_every_type_of_head_that_both_have_is_compared() -> None:
    for architecture in ARCHITECTURES.values():
        compared = {case.kind for case in HEAD_CASES.values() if case.fits(architecture)}
        assert compared >= peer_heads(architecture).intersection(architecture.heads) - ELSEWHERE


def test_only_a_causal_head_on_a_network_that_is_never_causal_is_not_here() -> None:
    for architecture in ARCHITECTURES.values():
        lacking = peer_heads(architecture) - set(architecture.heads)
        assert not lacking or (lacking == {"causal_lm"} and "is_decoder" in architecture.config.rules)


@each_head()
def test_a_head_saved_by_the_peer_loads_here_and_answers_the_same(
    pairs: Pairs, architecture: Architecture, case: HeadCase, tmp_path: Path, base_dir: Any
) -> None:
    pair = pair_for(case, architecture, pairs, base_dir)
    case.add(pair.theirs, "h")
    randomise(own(pair.theirs, "h"))
    pair.theirs.save_head(str(tmp_path), "h")
    assert pair.ours.load_head(tmp_path) == "h"
    compare(pair, case.inputs(architecture))


@each_head()
def test_a_head_saved_here_loads_there_and_answers_the_same(
    pairs: Pairs, architecture: Architecture, case: HeadCase, tmp_path: Path, base_dir: Any
) -> None:
    pair = pair_for(case, architecture, pairs, base_dir)
    case.add(pair.ours, "h")
    randomise(own(pair.ours, "h"))
    pair.ours.save_head(tmp_path, "h")
    report: dict[str, list[str]] = {}
    pair.theirs.load_head(str(tmp_path), use_safetensors=True, loading_info=report)
    assert report == {"missing_keys": [], "unexpected_keys": []}
    compare(pair, case.inputs(architecture))


@each_head()
def test_files_of_both_hold_the_same_of_a_head(
    pairs: Pairs, architecture: Architecture, case: HeadCase, tmp_path: Path, base_dir: Any
) -> None:
    theirs, ours = pair_for(case, architecture, pairs, base_dir)
    for model in (theirs, ours):
        case.add(model, "h")
    theirs.save_head(str(tmp_path / "theirs"), "h", use_safetensors=True)
    ours.save_head(tmp_path / "ours", "h")
    assert shapes(tmp_path / "ours") == shapes(tmp_path / "theirs")
    mine, peers = (json.loads((tmp_path / who / "head_config.json").read_text()) for who in ("ours", "theirs"))
    assert {**mine, "model_name": None} == {**peers, "model_name": None}


def shapes(folder: Path) -> dict[str, torch.Size]:
    """Return the names and shapes in a head's file."""
    return {name: tensor.shape for name, tensor in load_file(folder / "model_head.safetensors").items()}


@each_head()
def test_adapter_and_head_of_one_name_travel_together(
    pairs: Pairs, architecture: Architecture, case: HeadCase, tmp_path: Path, base_dir: Any
) -> None:
    theirs, ours = pair_for(case, architecture, pairs, base_dir)
    case.add(theirs, "h")
    randomise(own(theirs, "h"))
    add_random(theirs, "h", "seq_bn")
    theirs.save_adapter(str(tmp_path / "there"), "h")
    ours.load_adapter(tmp_path / "there", set_active=True)
    theirs.set_active_adapters("h")
    compare(Pair(theirs, ours), case.inputs(architecture))
    ours.save_adapter(tmp_path / "here", "h")
    again = pair_for(case, architecture, pairs, base_dir).theirs
    again.load_adapter(str(tmp_path / "here"), load_as="again", use_safetensors=True, set_active=True)
    inputs = case.inputs(architecture)
    same_answers(answer(ours, inputs), answer(again, inputs), inputs)


def pair_for(case: HeadCase, architecture: Architecture, pairs: Pairs, base_dir: Any) -> Pair:
    """Return the kept pair of models, or a new one where the head needs another config."""
    if not case.config:
        return pairs(architecture)
    folder = base_dir(architecture)
    return Pair(peer_model(architecture, folder, **case.config), our_model(architecture, folder, **case.config))


def own(model: Any, head: str) -> nn.ParameterList:
    """Return a head's parameters but those that are the model's token embedding."""
    base = model.base if hasattr(model, "base") else model.base_model
    tied = set(map(id, base.parameters()))
    return nn.ParameterList(p for p in model.heads[head].parameters() if id(p) not in tied)


def compare(pair: Pair, inputs: dict[str, Tensor]) -> None:
    """Assert that both models have the same head active, which gives the same numbers and has the same labels."""
    same_answers(answer(pair.ours, inputs), answer(pair.theirs, inputs), inputs)
    assert pair.ours.get_labels_dict() == pair.theirs.get_labels_dict()
    assert pair.ours.active_head == pair.theirs.active_head == "h"
