"""`inspect` of adapters, heads, and models with these beside them: every tensor once, and each is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from torch import Tensor

from adapterzoo.core.sites import sites_of
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.converting import Command, accounted, command, facts, same_as_said, tensors_in
from tests.helpers.hf_models import CASES, Case, each
from tests.helpers.tiny import NAMES, tiny_model

__all__ = ["command"]  # a fixture


@pytest.mark.parametrize("architecture", NAMES)
@pytest.mark.parametrize("kind", CONFIGS)
def test_every_tensor_of_an_adapter_is_told_once_and_is_what_it_is_said_to_be(
    kind: str, architecture: str, tmp_path: Path, command: Command
) -> None:
    model = tiny_model(architecture)
    add_random(model, kind)
    model.add_classification_head(kind, num_labels=3)
    model.save_adapter(tmp_path / "a", kind)
    told = facts(command, tmp_path / "a")
    tensors = safetensors.torch.load_file(tmp_path / "a" / "adapter.safetensors")
    assert accounted(told) == sorted(tensors)
    state = model.adapters[kind].state_dict()
    converted = {name: tensor.shape for name, tensor in model.adapters[kind].config.to_hub(tensors).items()} != {
        name: tensor.shape for name, tensor in model.adapters[kind].config.from_hub(tensors).items()
    }
    if not converted:
        same_as_said(told, tensors, state)
    assert (told["kind"], told["architecture"], told["name"]) == ("adapter", architecture, kind)
    assert (told["missing"], told["unexpected"]) == ([], [])
    assert told["parameters"] == sum(tensor.numel() for tensor in (tensors if converted else state).values())
    units = {tuple(name.removeprefix("units.").split("-")[:2]) for name in state if name.startswith("units.")}
    units = {(stack, number) for stack, number in units if number.isdigit()}  # the others are in no layer
    assert units == {(stack, str(number)) for stack, numbers in told["sizes"]["layers"].items() for number in numbers}
    assert told["config"] == model.adapters[kind].config.to_dict()
    head = told["head"]
    assert (head["name"], head["type"], head["labels"]) == (kind, "classification", 3)
    same_as_said(head, safetensors.torch.load_file(tmp_path / "a" / "model_head.safetensors"), heads_state(model))


def heads_state(model: Any) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith("heads.")}


@pytest.mark.parametrize("architecture", NAMES)
def test_copies_that_the_peers_files_hold_for_each_layer_are_unused(
    architecture: str, tmp_path: Path, command: Command
) -> None:
    model = tiny_model(architecture)
    add_random(model, "a", "prefix_tuning")
    model.save_adapter(tmp_path, "a")
    path, network = tmp_path / "adapter.safetensors", model.base.config
    tensors = safetensors.torch.load_file(path)
    modules = [model.architecture.hub_module(site) for site in sites_of(network) if site.kind == "kv"]
    copies = {
        name.replace("prefix_tuning.", f"{module}.prefix_tuning.pool.", 1): value.clone()
        for name, value in tensors.items()
        for module in modules
    }
    safetensors.torch.save_file({**tensors, **copies}, path)
    told = facts(command, tmp_path)
    assert len(copies) == len(modules) * len(tensors) and told["unused"] == sorted(copies)
    assert (told["missing"], told["unexpected"]) == ([], [])
    same_as_said(told, tensors, model.adapters["a"].state_dict())


@pytest.mark.parametrize("architecture", NAMES)
def test_an_adapter_that_lacks_a_tensor_or_has_one_too_many_is_told(
    architecture: str, tmp_path: Path, command: Command
) -> None:
    model = tiny_model(architecture)
    add_random(model, "a", "double_seq_bn")
    model.save_adapter(tmp_path, "a")
    path = tmp_path / "adapter.safetensors"
    tensors = safetensors.torch.load_file(path)
    lost = sorted(tensors)[0]
    tensors["something.else"] = tensors.pop(lost)
    safetensors.torch.save_file(tensors, path)
    told = facts(command, tmp_path, whole=False)
    assert told["unexpected"] == ["something.else"]
    assert len(told["missing"]) == 1 and lost.endswith(told["missing"][0])
    assert told["problems"] == sorted([f"{told['missing'][0]} is not there", "something.else has no place"])
    assert "something.else" in command("inspect", tmp_path).out


@pytest.mark.parametrize("kind", ["double_seq_bn", "lora", "prefix_tuning", "compacter"])
def test_a_tensor_of_another_shape_than_the_others_ask_for_is_told(kind: str, tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    add_random(model, "a", kind)
    model.save_adapter(tmp_path, "a")
    path = tmp_path / "adapter.safetensors"
    tensors = safetensors.torch.load_file(path)
    cut = sorted(name for name, tensor in tensors.items() if tensor.dim() > 1)[0]
    safetensors.torch.save_file({**tensors, cut: tensors[cut][..., 1:].clone()}, path)
    (problem,) = facts(command, tmp_path, whole=False)["problems"]
    assert problem.startswith(f"{cut} has shape ") and str(tuple(tensors[cut].shape)) in problem


@pytest.mark.parametrize("architecture", NAMES)
def test_a_saved_model_tells_of_its_adapters_and_heads(architecture: str, tmp_path: Path, command: Command) -> None:
    model = tiny_model(architecture)
    for name in ("lora", "bn_left_out"):
        add_random(model, name)
    model.add_classification_head("good.bad", num_labels=4)
    model.save_pretrained(tmp_path)
    told = facts(command, tmp_path)
    assert accounted(told) == sorted(tensors_in(tmp_path))
    assert [one["name"] for one in told["adapters"]] == ["lora", "bn_left_out"]
    for one in told["adapters"]:
        tensors = safetensors.torch.load_file(Path(one["source"]) / "adapter.safetensors")
        same_as_said(one, tensors, model.adapters[one["name"]].state_dict())
    assert [(one["name"], one["labels"]) for one in told["heads"]] == [("good.bad", 4)]
    out = command("inspect", tmp_path).out
    assert "lora, bn_left_out" in out and "good.bad" in out


@each([case for case in CASES if case.static])
def test_a_fixed_head_by_itself_is_told(case: Case, tmp_path: Path, command: Command) -> None:
    model = tiny_model(case.architecture.model_type, case.name.removeprefix(case.architecture.name))
    model.save_head(tmp_path)
    told = facts(command, tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model_head.safetensors")
    assert (told["kind"], told["type"]) == ("head", case.name) and accounted(told) == sorted(tensors)
    same_as_said(told, tensors, {name: value for name, value in model.state_dict().items() if name.startswith("head.")})
