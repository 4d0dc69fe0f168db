"""Setups in files, and all adapters or fusions at once, are exchanged with the peer both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import adapterzoo
from adapterzoo.archs import Architecture
from adapterzoo.core.compose import names_in
from tests.helpers.adapting import add_random
from tests.helpers.fusion_cases import add_random_fusion, fusion_parameters
from tests.helpers.head_cases import each_with
from tests.helpers.peer_adapters import adapters, distance, hidden, inputs_of, real_positions, same
from tests.helpers.peer_adapters import add_random as add_random_peer
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

SETUPS = {
    "fuse": lambda of: of.Fuse("a", "b"),
    "stack": lambda of: of.Stack("a", of.Fuse("a", "b"), "b"),
    "split": lambda of: of.BatchSplit("a", "b", batch_sizes=[3, 1]),
}


def compare(pair: Pair, architecture: Architecture) -> None:
    """Both give the same, and something else than without adapters."""
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    wanted, found = (hidden(model, inputs) for model in pair)
    same(found, wanted, where)
    pair.ours.set_active_adapters(None)
    assert distance(hidden(pair.ours, inputs), wanted, where) > 0.01


@each_with("classification")
@pytest.mark.parametrize(
    ("setup", "use_safetensors"),
    [(SETUPS["fuse"], False), (SETUPS["stack"], True), (SETUPS["split"], True)],
    ids=list(SETUPS),
)
def test_a_setup_saved_by_the_peer_loads_here(
    pairs: Pairs, architecture: Architecture, setup: Callable[[Any], Any], use_safetensors: bool, tmp_path: Path
) -> None:
    theirs, ours = pair = pairs(architecture)
    for name in "ab":
        add_random_peer(theirs, name, "seq_bn")
    theirs.add_adapter_fusion(["a", "b"])
    randomise(nn.ParameterList(fusion_parameters(theirs, "a,b").values()), std=0.1)
    theirs.add_classification_head("a")
    randomise(theirs.heads["a"])
    theirs.eval()
    theirs.save_adapter_setup(
        str(tmp_path), setup(adapters()), head_setup="a", meta_dict={"by": "x"}, use_safetensors=use_safetensors
    )
    theirs.set_active_adapters(setup(adapters()))
    found, heads = ours.load_adapter_setup(tmp_path, set_active=True)
    assert found == ours.active_adapters == setup(adapterzoo)
    assert heads == ours.active_head == "a"
    assert torch.equal(ours.heads["a"][1].weight, theirs.heads["a"][1].weight)
    ours.active_head = theirs.active_head = None
    compare(pair, architecture)


@each_with("classification")
@pytest.mark.parametrize("setup", SETUPS.values(), ids=list(SETUPS))
def test_a_setup_saved_here_loads_there(
    pairs: Pairs, architecture: Architecture, setup: Callable[[Any], Any], tmp_path: Path
) -> None:
    theirs, ours = pair = pairs(architecture)
    for name in "ab":
        add_random(ours, name, "seq_bn", 0.1)
    add_random_fusion(ours, ["a", "b"])
    ours.add_classification_head("a")
    ours.save_adapter_setup(tmp_path, setup(adapterzoo), head_setup="a", meta_dict={"by": "x"})
    ours.set_active_adapters(setup(adapterzoo))
    loaded, heads = theirs.load_adapter_setup(str(tmp_path), set_active=True, use_safetensors=True)
    assert loaded.to_dict() == setup(adapters()).to_dict()
    assert heads == "a"
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text())["by"] == "x"
    theirs.eval()
    ours.active_head = theirs.active_head = None
    compare(pair, architecture)
    folders = {path.name for path in tmp_path.iterdir()}
    assert set(names_in(setup(adapterzoo))) <= folders
    assert ("a,b" in folders) == ("Fuse" in str(setup(adapterzoo)))


@each_with("classification")
def test_all_adapters_fusions_and_heads_at_once(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    theirs, ours = pairs(architecture)
    for name, config in {"a": "seq_bn", "b": "seq_bn[reduction_factor=8]"}.items():
        add_random_peer(theirs, name, config)
    theirs.add_adapter_fusion(["a", "b"], "static")
    theirs.add_classification_head("h")
    kinds = {"adapters": "save_all_adapters", "fusions": "save_all_adapter_fusions", "heads": "save_all_heads"}
    for kind, method in kinds.items():
        getattr(theirs, method)(str(tmp_path / "theirs" / kind))
    for name in "ab":
        ours.load_adapter(tmp_path / "theirs" / "adapters" / name)
    assert ours.load_adapter_fusion(tmp_path / "theirs" / "fusions" / "a,b") == "a,b"
    assert ours.load_head(tmp_path / "theirs" / "heads" / "h") == "h"
    for kind, method in kinds.items():
        getattr(ours, method)(tmp_path / "ours" / kind)
    read = {}
    for who in ("theirs", "ours"):
        paths = (tmp_path / who).rglob("*.json")
        read[who] = {str(path.relative_to(tmp_path / who)): json.loads(path.read_text()) for path in paths}
    assert set(read["ours"]) == set(read["theirs"])
    for path, content in read["theirs"].items():
        told = {key: value for key, value in read["ours"][path].items() if key not in ("version", "model_name")}
        assert told == {key: value for key, value in content.items() if key in told}, path
        assert set(content) == set(read["ours"][path])
