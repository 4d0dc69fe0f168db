"""Files: the same tensor names, configs and counts; the peer's safetensors, and what it cannot write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.methods import PRESETS
from adapterzoo.methods.base import resolve_config
from tests.helpers import adapting
from tests.helpers.head_cases import NAMES, each_with
from tests.helpers.method_cases import CASES, MethodCase, each_adapter, each_architecture
from tests.helpers.peer_adapters import adapters, add_random, is_copy, is_prefix_copy, peer_parameters
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]


def held_twice(case: MethodCase) -> bool:
    """Whether the peer holds tensors of the adapter under several names."""
    fields = case.ours.to_dict()
    configs = fields.get("configs", [fields])
    return any(one.get("architecture") == "prefix_tuning" or one.get("ln_before") for one in configs)


TWICE = {name: case for name, case in CASES.items() if held_twice(case)}
ENDINGS = ("every-linear", "gate", "gates", "lns", "channel", "leave-out", "by-layer", "cross-only", "tied", "square")
ENDINGS += ("whole", "shared-w", "rule", "no-bias", "everything-shared", "inv", "bottlenecks", "three")
TOLD = {name: case for name, case in CASES.items() if case.told}
IN_FILES = {name: case for name, case in TOLD.items() if name in PRESETS or name.endswith(ENDINGS)}
"""Configs that differ in which tensors there are; test_exchange.py sends every config through files."""

SOME_TWICE = {name: TWICE[name] for name in ("prefix", "prefix-flat", "prefix-gates", "bn-own-lns")}
ONCE_PRESETS = {name: CASES[name] for name in TOLD if name in PRESETS and name not in TWICE}


@each_adapter(IN_FILES)
def test_files_of_both_say_the_same_of_the_same_adapter(
    pairs: Pairs, architecture: Architecture, case: MethodCase, tmp_path: Path
) -> None:
    theirs, ours = pairs(architecture)
    theirs.add_adapter("a", config=case.theirs)
    ours.add_adapter("a", case.ours)
    same_counts(theirs, ours)
    theirs.save_adapter(str(tmp_path / "theirs"), "a")
    ours.save_adapter(tmp_path / "ours", "a")
    tensors = torch.load(tmp_path / "theirs" / "pytorch_adapter.bin", weights_only=True)
    wanted = {name: tensor.shape for name, tensor in tensors.items() if not is_copy(name, architecture)}
    found = load_file(tmp_path / "ours" / "adapter.safetensors")
    assert {name: tensor.shape for name, tensor in found.items()} == wanted
    mine, peers = (json.loads((tmp_path / who / "adapter_config.json").read_text()) for who in ("ours", "theirs"))
    peers["model_class"] = peers["model_class"].removesuffix("WithAdapters")  # which it appends where there is no head
    unsaid = ("model_name", "hidden_size") if peers["hidden_size"] is None else ("model_name",)
    assert {**mine, **dict.fromkeys(unsaid)} == {**peers, **dict.fromkeys(unsaid)}
    path = str(tmp_path / "ours" / "adapter_config.json")
    assert adapters().AdapterConfig.load(path).to_dict() == mine["config"]


def same_counts(theirs: Any, ours: Any) -> None:
    """Assert that both count as many parameters in the adapter and the model."""
    distinct = {id(parameter): parameter.numel() for parameter in peer_parameters(theirs, "a").values()}
    assert sum(parameter.numel() for parameter in ours.adapters["a"].parameters()) == sum(distinct.values())
    mine, peers = (model.adapter_summary(as_dict=True) for model in (ours, theirs))
    for entry in ("name", "architecture", "#param", "active", "train"):
        assert mine[0][entry] == peers[0][entry], entry
    # The peer gives DeBERTa's fused projection a bias that the model does not have, and counts a pair's head.
    more = sum(tensor.numel() for name, tensor in theirs.named_parameters() if name.endswith("in_proj.bias"))
    if not hasattr(theirs, "heads"):
        shared = set(map(id, ours.base.parameters()))
        more += sum(tensor.numel() for tensor in ours.head.parameters() if id(tensor) not in shared)
    assert mine[-1]["#param"] == peers[-1]["#param"] - more
    assert mine[0]["%param"] == pytest.approx(peers[0]["%param"] * peers[-1]["#param"] / mine[-1]["#param"])


@each_adapter(ONCE_PRESETS)
def test_the_peers_safetensors_hold_what_its_pickle_holds(
    pairs: Pairs, architecture: Architecture, case: MethodCase, tmp_path: Path
) -> None:
    if architecture.specialise is not None and "'phm_layer': True" in str(case.ours.to_dict()):
        pytest.skip("the peer holds what a pair's parts share twice")
    theirs, ours = pairs(architecture)
    add_random(theirs, "a", case.theirs)
    theirs.save_adapter(str(tmp_path / "pickle"), "a")
    theirs.save_adapter(str(tmp_path / "safe"), "a", use_safetensors=True)
    ours.load_adapter(tmp_path / "pickle", load_as="pickle")
    ours.load_adapter(tmp_path / "safe", load_as="safe", allow_pickle=False)
    pickled, safe = (adapting.tensors_of(ours.adapters[name]) for name in ("pickle", "safe"))
    assert adapting.same_bits(pickled, safe)
    with pytest.raises(ValueError, match="allow_pickle"):
        ours.load_adapter(tmp_path / "pickle", allow_pickle=False)


@each_adapter(SOME_TWICE)
def test_what_the_peer_holds_twice_it_cannot_write_as_safetensors_but_read(
    pairs: Pairs, architecture: Architecture, case: MethodCase, tmp_path: Path
) -> None:
    theirs, ours = pairs(architecture)
    adapting.add_random(ours, "a", case.ours)
    ours.save_adapter(tmp_path / "ours", "a")
    theirs.load_adapter(str(tmp_path / "ours"), use_safetensors=True)
    with pytest.raises(RuntimeError, match="share memory"):
        theirs.save_adapter(str(tmp_path / "safe"), "a", use_safetensors=True)
    theirs.save_adapter(str(tmp_path / "theirs"), "a")
    ours.load_adapter(tmp_path / "theirs", load_as="again")
    first, again = (adapting.tensors_of(ours.adapters[name]) for name in ("a", "again"))
    assert adapting.same_bits(first, again)


@each_architecture
def test_a_prefix_is_written_once_and_by_the_peer_again_for_each_layer(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    theirs, ours = pairs(architecture)
    adapting.add_random(ours, "a", CASES["prefix"].ours)
    ours.save_adapter(tmp_path, "a")
    theirs.load_adapter(str(tmp_path), use_safetensors=True)
    once = [key.partition("prefix_tuning.")[0] for key in load_file(tmp_path / "adapter.safetensors")]
    blocks = [name for name, module in theirs.named_modules() if type(module).__name__ == "PrefixTuningLayer"]
    assert len(blocks) == len(ours.adapters["a"].units)
    copies = [key for key in theirs.state_dict() if is_prefix_copy(key)]
    assert len(copies) == sum(block.startswith(stem) for stem in once for block in blocks) > 0


@each_with("classification")
def test_labels_stay_in_the_order_of_their_numbers(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    theirs, ours = pairs(architecture)
    theirs.add_classification_head("h", num_labels=len(NAMES), id2label=NAMES)
    theirs.save_head(str(tmp_path), "h")
    theirs.load_head(str(tmp_path), load_as="again")
    ours.load_head(tmp_path)
    assert ours.get_labels() == list(NAMES.values())
    assert theirs.get_labels("again") == sorted(NAMES.values())


def test_a_whole_number_may_be_a_scaling(pairs: Pairs, tmp_path: Path) -> None:
    assert resolve_config("par_bn[scaling=4]")["scaling"] == 4
    theirs, _ = pairs(ARCHITECTURES["bert"])
    with pytest.raises(ValueError, match="Unknown scaling"):
        theirs.add_adapter("a", config=adapters().AdapterConfig.load("par_bn[scaling=4]"))
