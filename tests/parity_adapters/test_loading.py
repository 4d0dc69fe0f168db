"""What loading may change: names, layers left out, and configs and tensor names of older versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo.archs import Architecture
from tests.helpers.answers import answer, same_answers
from tests.helpers.head_cases import each_with
from tests.helpers.method_cases import CASES, each_architecture
from tests.helpers.peer_adapters import add_random, hidden, inputs_of, real_positions, same, skip_if_elsewhere
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]


def saved(pair: Pair, folder: Path, config: Any) -> Path:
    """Write a random adapter of the peer's, and return the folder."""
    add_random(pair.theirs, "made", config)
    pair.theirs.save_adapter(str(folder), "made")
    pair.theirs.delete_adapter("made")
    return folder


def compare(pair: Pair, architecture: Architecture, folder: Path, padding: str = "right", **options: Any) -> None:
    """Both load the folder, have the same config, and give the same outputs."""
    inputs = inputs_of(architecture, padding)
    theirs, ours = (model.load_adapter(str(folder), load_as="a", **options) for model in pair)
    assert theirs == ours == "a"
    assert pair.ours.adapters_config.get("a").to_dict() == pair.theirs.adapters_config.get("a").to_dict()
    for model in pair:
        model.set_active_adapters("a")
    same(hidden(pair.ours, inputs), hidden(pair.theirs, inputs), real_positions(inputs))


def edit(folder: Path, file: str = "adapter_config.json", **entries: Any) -> dict[str, Any]:
    """Change entries of a config file; None takes one away."""
    path = folder / file
    content = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return content


@each_architecture
@pytest.mark.parametrize("case", ["double_seq_bn", "lora-every-linear", "bn-own-lns"])
def test_layers_may_be_left_out(pairs: Pairs, architecture: Architecture, case: str, tmp_path: Path) -> None:
    pair = pairs(architecture)
    skip_if_elsewhere(architecture, CASES["lora-leave-out"].ours)
    compare(pair, architecture, saved(pair, tmp_path, CASES[case].theirs), leave_out=[1])
    assert list(pair.ours.adapters_config.get("a")["leave_out"]) == [1]


@each_architecture
@pytest.mark.parametrize("version", ["adapters.1.0.1", "adapters.1.1.0", "3.2.1"])
def test_loras_of_early_versions_were_scaled_by_one(
    pairs: Pairs, architecture: Architecture, version: str, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    edit(saved(pair, tmp_path, "lora[r=2, alpha=5]"), version=version)
    compare(pair, architecture, tmp_path)
    assert pair.ours.adapters_config.get("a")["alpha"] == (2 if version == "adapters.1.0.1" else 5)


@each_architecture
@pytest.mark.parametrize(("then", "now"), [("gelu", "gelu_new"), ("gelu_orig", "gelu"), ("relu", "relu")])
def test_activations_of_the_first_version_have_other_names(
    pairs: Pairs, architecture: Architecture, then: str, now: str, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    content = edit(saved(pair, tmp_path, "seq_bn[reduction_factor=4]"))
    edit(tmp_path, version=None, config={**content["config"], "non_linearity": then})
    compare(pair, architecture, tmp_path)
    assert pair.ours.adapters_config.get("a")["non_linearity"] == now


@each_architecture
@pytest.mark.parametrize("kind", ["text_task", "text_lang"])
def test_tensors_of_the_first_version_have_other_names(
    pairs: Pairs, architecture: Architecture, kind: str, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    edit(saved(pair, tmp_path, "double_seq_bn"), version=None, type=kind)
    weights = tmp_path / "pytorch_adapter.bin"
    tensors = torch.load(weights, weights_only=True)
    old = {name.replace(".adapters.", f".layer_{kind}_adapters."): tensor for name, tensor in tensors.items()}
    assert set(old).isdisjoint(tensors)
    torch.save(old, weights)
    compare(pair, architecture, tmp_path)


@each_with("classification")
def test_heads_of_the_first_versions_come_from_classes_of_other_names(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    pair.theirs.add_classification_head("h", num_labels=3)
    pair.theirs.save_head(str(tmp_path), "h")
    pair.theirs.delete_head("h")
    edit(tmp_path, "head_config.json", model_class=f"{architecture.name}ModelWithHeads", version="3.0.1")
    for model in pair:
        model.load_head(str(tmp_path))
    inputs = {name: value for name, value in inputs_of(architecture).items() if not name.startswith("decoder_")}
    same_answers(*(answer(model, inputs) for model in (pair.ours, pair.theirs)), inputs, loss=False)
