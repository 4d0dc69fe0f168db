"""The dependency parser goes through files in both directions, and gives the peer's scores and gradients.

The peer's loss counts heads that are no words: where there are none (each token is a word), losses are equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.answers import answer
from tests.helpers.hf_batches import LENGTH, LENGTHS
from tests.helpers.parsing import RELATIONS, loss_of, scores, trees
from tests.helpers.peer_adapters import adapters, inputs_of, off, same
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

KIND = "dependency_parsing"


def parses(architecture: Architecture) -> bool:
    """Whether the architecture has the head, and the peer's has, too."""
    theirs = getattr(adapters(), f"{architecture.name}AdapterModel", None)
    return KIND in architecture.heads and KIND in getattr(theirs, "head_types", ())


PARSERS = [pytest.param(kind, id=kind.name) for kind in ARCHITECTURES.values() if parses(kind)]


@pytest.fixture(params=PARSERS)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    kind: Architecture = request.param
    return kind


@pytest.fixture
def pair(
    pairs: Callable[[Architecture], Pair], architecture: Architecture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Pair:
    """Both models with the same parser; the peer's padding is -1, as its example has it."""
    found = pairs(architecture)
    monkeypatch.setattr(found.theirs.config, "pad_token_id", -1)
    found.theirs.add_dependency_parsing_head("h", num_labels=RELATIONS)
    randomise(found.theirs.heads["h"], std=0.05)  # scores near 0, which heads that are no words have in the peer
    found.theirs.save_head(str(tmp_path / "peer"), "h")
    assert found.ours.load_head(tmp_path / "peer") == "h"
    return found


def batch(
    architecture: Architecture, padding: str = "right", **more: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return inputs and trees."""
    return inputs_of(architecture, padding), trees(list(LENGTHS[padding]), LENGTH, **more)


def both(pair: Pair, *inputs: dict[str, Tensor]) -> tuple[Any, Any]:
    """Return both models' outputs."""
    given = {name: value for part in inputs for name, value in part.items()}
    return answer(pair.ours, given), answer(pair.theirs, given)


def gradients(model: Any) -> dict[str, Tensor]:
    """Return the gradients of the parser and of the token embedding, and forget them."""
    token = model.base.token if hasattr(model, "base") else model.get_input_embeddings()
    found = {name: parameter.grad for name, parameter in model.heads["h"].named_parameters()}
    found["token"] = token.weight.grad
    model.zero_grad()
    return found


def same_gradients(pair: Pair) -> None:
    ours, theirs = gradients(pair.ours), gradients(pair.theirs)
    assert set(ours) == {"biaffine_arcs.weight", "biaffine_rels.weight", "token"} == set(theirs)
    for name, wanted in theirs.items():
        largest = float(wanted.abs().max())
        assert largest > 0, name
        assert float((ours[name] - wanted).abs().max()) <= 1e-5 * largest, name


def test_scores_loss_and_gradients_are_the_peers(pair: Pair, architecture: Architecture) -> None:
    inputs, tree = batch(architecture)
    ours, theirs = (model(**inputs, **tree) for model in (pair.ours, pair.theirs))
    assert ours.arc_preds.shape == theirs.arc_preds.shape
    assert ours.rel_preds.shape == theirs.rel_preds.shape
    wanted = scores(theirs, tree)
    for name, found in scores(ours, tree).items():
        same(found.detach(), wanted[name].detach())
    law = loss_of(theirs, tree)
    same(ours.loss.detach(), law.detach())
    ours.loss.backward()
    law.backward()
    same_gradients(pair)


def test_where_each_token_is_a_word_the_losses_are_equal_too(pair: Pair, architecture: Architecture) -> None:
    inputs, tree = batch(architecture, "none", finest=True)
    ours, theirs = both(pair, inputs, tree)
    same(ours.arc_preds, theirs.arc_preds)
    same(ours.rel_preds, theirs.rel_preds)
    same(ours.loss, theirs.loss)


def test_files_of_both_hold_the_same_and_go_both_ways(pair: Pair, architecture: Architecture, tmp_path: Path) -> None:
    pair.ours.save_head(tmp_path / "ours", "h")
    pair.theirs.save_head(str(tmp_path / "theirs"), "h", use_safetensors=True)
    mine, peers = (load_file(tmp_path / who / "model_head.safetensors") for who in ("ours", "theirs"))
    assert set(mine) == set(peers)
    assert all(torch.equal(mine[name], peers[name]) for name in peers)
    configs = [json.loads((tmp_path / who / "head_config.json").read_text()) for who in ("ours", "theirs")]
    assert {**configs[0], "model_name": None} == {**configs[1], "model_name": None}
    randomise(pair.theirs.heads["h"])
    pair.theirs.load_head(str(tmp_path / "ours"), use_safetensors=True)
    inputs, tree = batch(architecture)
    ours, theirs = both(pair, inputs, tree)
    wanted = scores(theirs, tree)
    for name, found in scores(ours, tree).items():
        same(found, wanted[name])


def test_both_say_the_same_of_a_new_parser(pair: Pair, tmp_path: Path) -> None:
    names = {0: "nsubj", 1: "obj", 2: "det"}
    for name, settings in {"plain": {}, "named": {"num_labels": 3, "id2label": names}}.items():
        for model in (pair.ours, pair.theirs):
            model.add_dependency_parsing_head(name, **settings)
        assert pair.ours.heads[name].config == pair.theirs.heads[name].config
        assert pair.ours.get_labels_dict() == pair.theirs.get_labels_dict()
        for key, tensor in pair.theirs.heads[name].state_dict().items():
            assert torch.equal(pair.ours.heads[name].state_dict()[key], tensor)
    pair.theirs.save_head(str(tmp_path), "named")
    assert pair.ours.load_head(tmp_path, load_as="again") == "again"
    assert pair.ours.get_labels_dict("again") == names


def test_a_row_is_parsed_the_same_however_far_it_is_padded(pair: Pair, architecture: Architecture) -> None:
    inputs, tree = batch(architecture)
    row = {name: value[1:2] for name, value in (inputs | tree).items()}
    length = LENGTHS["right"][1]
    cut = {
        "word_starts": length + 1,
        **dict.fromkeys(("input_ids", "attention_mask", "labels_arcs", "labels_rels"), length),
    }
    alone = {name: value[:, : cut[name]] for name, value in row.items()}
    law = loss_of(both(pair, alone)[1], alone)
    same(both(pair, row)[0].loss, law)
    off(both(pair, row)[1].loss, law)


def test_padding_is_told_from_the_first_word_and_from_the_root(
    pair: Pair, architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, tree = batch(architecture)
    wanted, there = both(pair, inputs, tree)
    assert bool((tree["labels_arcs"] == 0).any()) and bool((tree["labels_arcs"] == 1).any())
    pad = pair.ours.config.pad_token_id
    padded = {name: value.masked_fill(value == -1, pad) for name, value in tree.items()}
    same(both(pair, inputs, padded)[0].loss, wanted.loss)
    monkeypatch.setattr(pair.theirs.config, "pad_token_id", pad)
    off(both(pair, inputs, padded)[1].loss, there.loss)
