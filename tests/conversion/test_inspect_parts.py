"""`inspect` of fusions, setups and embeddings, and of all that lies beside a model or inside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from torch import Tensor

from adapterzoo import AutoAdapterModel, Fuse, Parallel, Split, Stack
from adapterzoo.conversion.facts import within
from tests.helpers.adapting import add_random
from tests.helpers.converting import Command, accounted, command, edit_config, facts, same_as_said, tensors_in
from tests.helpers.fuzz.readers import furnished
from tests.helpers.hf_models import CASES, Case, each
from tests.helpers.peer_adapters import adapters as peer_library
from tests.helpers.peer_adapters import peer_model, save_hf
from tests.helpers.tiny import DISTINCT, NAMES, randomise, tiny_model
from tests.helpers.vocabularies import NEW, tokenizer_of

__all__ = ["command"]  # a fixture


def fused(architecture: str, config: str = "dynamic") -> Any:
    """A model with a fusion of two bottlenecks in every place that they may have."""
    model = tiny_model(architecture)
    for name in ("b", "d.e"):
        add_random(model, name, "double_seq_bn[reduction_factor=8]")
    model.add_adapter_fusion(Fuse("b", "d.e"), config)
    randomise(model.fusions["b,d.e"].units)
    return model


def of_file(folder: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a file."""
    return safetensors.torch.load_file(folder / f"{name}.safetensors")


@pytest.mark.parametrize("architecture", NAMES)
def test_every_tensor_of_a_fusion_is_told_once_and_is_what_it_is_said_to_be(
    architecture: str, tmp_path: Path, command: Command
) -> None:
    model = fused(architecture)
    model.add_classification_head("b,d.e", num_labels=3)
    model.save_adapter_fusion(tmp_path, Fuse("b", "d.e"), with_head=True)
    told, tensors = facts(command, tmp_path), of_file(tmp_path, "model_adapter_fusion")
    assert accounted(told) == sorted(tensors)
    same_as_said(told, tensors, model.fusions["b,d.e"].state_dict())
    assert (told["kind"], told["architecture"], told["name"]) == ("fusion", architecture, "b,d.e")
    assert (told["fuses"], told["method"]) == (["b", "d.e"], "dynamic")
    assert (told["missing"], told["problems"]) == ([], [])
    assert told["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    places = {site.slug.rpartition("-")[0].rpartition("-")[0] for site in model.fusions["b,d.e"].sites}
    layers = {f"{stack}-{number}" for stack, numbers in told["sizes"]["layers"].items() for number in numbers}
    assert layers == {place for place in places if place[-1].isdigit()}
    assert (told["head"]["name"], told["head"]["labels"]) == ("b,d.e", 3)
    out = command("inspect", tmp_path).out
    assert "fusion   b,d.e, dynamic" in out and "fuses    b, d.e" in out


@pytest.mark.parametrize(
    ("config", "said"),
    [("static", "static"), ("dynamic[temperature=True]", "of its own"), ("static[key=False]", "of its own")],
)
def test_a_fusions_config_is_told_by_its_name_or_in_full(
    config: str, said: str, tmp_path: Path, command: Command
) -> None:
    model = fused("bert", config)
    model.save_adapter_fusion(tmp_path, Fuse("b", "d.e"))
    told = facts(command, tmp_path)
    assert told["method"] == said and told["config"] == model.fusions["b,d.e"].config.to_dict()
    assert accounted(told) == sorted(of_file(tmp_path, "model_adapter_fusion"))


def test_what_is_wrong_with_a_fusion_is_told(tmp_path: Path, command: Command) -> None:
    fused("bert").save_adapter_fusion(tmp_path, Fuse("b", "d.e"))
    path = tmp_path / "model_adapter_fusion.safetensors"
    tensors = safetensors.torch.load_file(path)
    lost, cut, *_ = tensors
    tensors |= {"something.else": tensors.pop(lost), cut: tensors[cut][:3].clone()}
    tensors["bert.encoder.layer.0.output.adapter_fusion_layer.b,d.e,f.key.bias"] = tensors[cut].clone()
    safetensors.torch.save_file(tensors, path)
    told = facts(command, tmp_path, whole=False)
    assert told["unexpected"] == ["something.else"]
    assert told["unused"] == ["bert.encoder.layer.0.output.adapter_fusion_layer.b,d.e,f.key.bias"]
    bare = lost.removeprefix("bert.")
    assert told["missing"] == [bare] and f"{bare} is not there" in told["problems"]
    assert any(problem.startswith(f"{cut.removeprefix('bert.')} has shape (3,") for problem in told["problems"])
    assert command("inspect", tmp_path).err == f"error: {tmp_path} is no whole fusion; see problems\n"


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_setup_tells_its_composition_and_every_member(architecture: str, tmp_path: Path, command: Command) -> None:
    model = fused(architecture)
    add_random(model, "a", "lora[r=2]")
    model.add_classification_head("a", num_labels=3)
    model.add_classification_head("other", num_labels=4)
    setup = Parallel(Stack("a", Fuse("b", "d.e")), "a")
    model.save_adapter_setup(tmp_path, setup, head_setup=["a", "other"])
    told = facts(command, tmp_path)
    assert (told["kind"], told["architecture"]) == ("setup", architecture)
    assert (told["setup"], told["head_setup"]) == (setup.to_dict(), ["a", "other"])
    assert [one["name"] for one in told["adapters"]] == ["a", "b", "d.e"]
    assert [one["name"] for one in told["fusions"]] == ["b,d.e"]
    assert told["adapters"][0]["head"]["labels"] == 3  # it lies beside its adapter
    assert [(one["name"], one["labels"]) for one in told["heads"]] == [("other", 4)]
    for one in told["adapters"]:
        same_as_said(one, of_file(Path(one["source"]), "adapter"), model.adapters[one["name"]].state_dict())
    files = [path for path in tmp_path.rglob("*.safetensors")]
    assert told["parameters"] == sum(
        tensor.numel() for path in files for tensor in safetensors.torch.load_file(path).values()
    )
    out = command("inspect", tmp_path).out
    assert "setup       Parallel[Stack[a, Fuse[b, d.e]], a]" in out and "fusion   b,d.e" in out


def test_members_of_a_setup_that_are_not_there_or_broken_are_told(tmp_path: Path, command: Command) -> None:
    model = fused("bert")
    add_random(model, "a", "lora[r=2]")
    model.save_adapter_setup(tmp_path, Split("a", Fuse("b", "d.e"), splits=[3, 5]))
    for path in (tmp_path / "d.e").iterdir():
        path.unlink()
    (tmp_path / "b,d.e" / "adapter_fusion_config.json").write_text("{")
    told = facts(command, tmp_path, whole=False)
    assert told["setup"]["kwargs"] == {"splits": [3, 5]}
    assert [one["name"] for one in told["adapters"]] == ["a", "b"] and told["fusions"] == []
    lost, broken = told["problems"]
    assert lost == "adapter 'd.e': there is no d.e/adapter_config.json"
    assert broken.startswith("fusion 'b,d.e': ") and "is not JSON" in broken
    assert "no whole setup" in command("inspect", tmp_path).err


def test_a_setup_with_a_fixed_head_tells_it(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert", "ForSequenceClassification", num_labels=3)
    add_random(model, "a", "lora[r=2]")
    model.save_adapter_setup(tmp_path, "a", head_setup=True)
    (head,) = facts(command, tmp_path)["heads"]
    assert (head["type"], head["labels"]) == ("BertForSequenceClassification", 3)


def test_a_saved_model_tells_its_fusions_and_embeddings(tmp_path: Path, command: Command) -> None:
    model = furnished()
    model.save_pretrained(tmp_path)
    told = facts(command, tmp_path)
    assert (told["format"], told["not_loaded"]) == ("adapterzoo", [])
    (fusion,), (embedding,) = told["fusions"], told["embeddings"]
    same_as_said(fusion, of_file(Path(fusion["source"]), "model_adapter_fusion"), model.fusions["b,d"].state_dict())
    weight = model.state_dict()["embeddings.new.token.weight"]
    same_as_said(embedding, of_file(Path(embedding["source"]), "embedding"), {"embeddings.new.token.weight": weight})
    assert (embedding["name"], embedding["sizes"]) == ("new", {"vocabulary": len(weight), "width": weight.size(1)})
    assert "tokenizer/tokenizer.json" in embedding["tokenizer"]
    out = command("inspect", tmp_path).out
    assert "fusions     b,d" in out and "embeddings  new" in out and "embedding   new, with a tokenizer" in out


def test_what_lies_beside_a_model_and_is_not_loaded_with_it_is_told(tmp_path: Path, command: Command) -> None:
    model = furnished()
    model.save_pretrained(tmp_path)
    state = json.loads((tmp_path / "config.json").read_text())["adapterzoo"]
    edit_config(tmp_path, adapterzoo={**state, "adapters": ["b", "d"], "heads": []})
    told = facts(command, tmp_path)
    assert told["not_loaded"] == ["adapters/a", "heads/a"]
    assert re.search(r"^  not loaded  +2: adapters/a, heads/a$", command("inspect", tmp_path).out, re.MULTILINE)


def test_what_is_wrong_beside_a_model_is_told(tmp_path: Path, command: Command) -> None:
    furnished().save_pretrained(tmp_path)
    for file, name in (("adapters/a/adapter", "lora_A"), ("embeddings/new/embedding", "weight")):
        tensors = of_file(tmp_path, file)
        cut = next(key for key in tensors if key.endswith(name))
        safetensors.torch.save_file({**tensors, cut: tensors[cut][:, :3].clone()}, tmp_path / f"{file}.safetensors")
    told = facts(command, tmp_path, whole=False)
    assert told["problems"] == []
    assert [len(told[kind][0]["problems"]) for kind in ("adapters", "embeddings", "fusions")] == [1, 1, 0]
    said = command("inspect", tmp_path).err.splitlines()
    assert said == [
        f"error: {tmp_path / 'adapters' / 'a'} is no whole adapter; see problems",
        f"error: {tmp_path / 'embeddings' / 'new'} is no whole embedding; see problems",
    ]


def test_an_embedding_alone_is_told(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    model.add_embeddings("new", tokenizer_of(NEW))
    model.save_embeddings(tmp_path / "mine", "new")
    told = facts(command, tmp_path / "mine")
    assert (told["kind"], told["name"], told["tokenizer"]) == ("embedding", "mine", [])
    assert "without a tokenizer" in command("inspect", tmp_path / "mine").out
    (tmp_path / "mine" / "embedding.safetensors").rename(tmp_path / "embedding.safetensors")
    safetensors.torch.save_file({"heavy": of_file(tmp_path, "embedding")["weight"]}, tmp_path / "embedding.safetensors")
    told = facts(command, tmp_path, whole=False)
    assert told["problems"] == ["heavy has no place", "weight is not there"]


@pytest.mark.parametrize("head", ["classification", "masked_lm", "tagging"])
def test_a_head_that_lacks_a_tensor_is_told(head: str, tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    getattr(model, f"add_{head}_head")("h")
    model.save_head(tmp_path, "h")
    assert facts(command, tmp_path)["missing"] == []
    tensors = of_file(tmp_path, "model_head")
    lost = next(key for key in tensors if key.endswith("bias"))
    left = {name: tensor for name, tensor in tensors.items() if name != lost}
    safetensors.torch.save_file(left, tmp_path / "model_head.safetensors")
    told = facts(command, tmp_path, whole=False)
    assert (told["missing"], told["problems"]) == ([lost], [f"{lost} is not there"])


def test_a_fixed_head_that_lacks_a_tensor_is_told(tmp_path: Path, command: Command) -> None:
    tiny_model("roberta", "ForMaskedLM").save_head(tmp_path)
    tensors = of_file(tmp_path, "model_head")
    left = {name: tensor for name, tensor in tensors.items() if name != "lm_head.dense.bias"}
    safetensors.torch.save_file(left, tmp_path / "model_head.safetensors")
    assert facts(command, tmp_path, whole=False)["missing"] == ["lm_head.dense.bias"]


# ---------------------------------------------------------------------------------------------- inside


@each([case for case in CASES if case.static is None and case.architecture.model_type in ("bert", "bart")])
def test_adapters_and_heads_within_a_model_that_the_peer_saved_are_told(
    case: Case, tmp_path: Path, command: Command
) -> None:
    model = peer_model(case.architecture, save_hf(case, tmp_path / "hf"))
    configs = {"a": "lora", "b": "seq_bn", "d": "seq_bn", "p": "prefix_tuning", "i": "seq_bn_inv"}
    for name, config in configs.items():
        model.add_adapter(name, config=config)
    model.add_adapter("c", config="compacter[phm_dim=2,reduction_factor=8]")
    model.add_adapter_fusion(peer_library().composition.Fuse("b", "d"))
    model.add_classification_head("a", num_labels=3)
    model.save_pretrained(tmp_path / "src")
    told, tensors = facts(command, tmp_path / "src"), tensors_in(tmp_path / "src")
    assert (told["format"], told["problems"], told["unexpected"]) == ("adapterhub", [], [])
    inside = told["inside"]
    methods = {one["name"]: one["method"] for one in inside["adapters"]}
    bottlenecks = dict.fromkeys(("b", "c", "d", "i"), "bottleneck")
    assert methods == {"a": "lora", "p": "prefix_tuning", **bottlenecks}
    assert [(one["name"], one["fuses"]) for one in inside["fusions"]] == [("b,d", ["b", "d"])]
    assert ("a", "classification") in [(one["name"], one["type"]) for one in inside["heads"]]
    parts = within(told)
    assert sorted([*accounted(told), *(name for one in parts for name in accounted(one))]) == sorted(tensors)
    ours = AutoAdapterModel.from_pretrained(tmp_path / "src")
    for one in parts:
        state = {
            "adapter": lambda name: ours.adapters[name].state_dict(),
            "fusion": lambda name: ours.fusions[name].state_dict(),
            "head": lambda name: {
                key: value for key, value in ours.state_dict().items() if key.startswith(f"heads.{name}.")
            },
        }[one["kind"]](one["name"])
        tied = {name for name in state if name not in {row["ours"] for row in one["tensors"]}}
        assert not tied or one["type"].endswith("lm")
        same_as_said(one, tensors, {name: state[name] for name in state if name not in tied})
    out = command("inspect", tmp_path / "src").out
    assert "adapters inside  " in out and "adapter inside: a, lora, " in out


def test_a_model_of_version_1_with_adapters_inside_is_told(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    add_random(model, "sst", "seq_bn")
    model.save_pretrained(tmp_path)
    part = {
        name.removeprefix("bert.").replace("output.adapters.", "output.layer_text_task_adapters."): tensor
        for name, tensor in of_file(tmp_path / "adapters" / "sst", "adapter").items()
    }
    safetensors.torch.save_file({**tensors_in(tmp_path), **part}, tmp_path / "model.safetensors")
    said = {"adapters": {"sst": ["text_task", "pfeiffer"]}, "config_map": {}}
    edit_config(tmp_path, drop=("adapterzoo",), adapters=said, prediction_heads={})
    told = facts(command, tmp_path)
    (one,) = told["inside"]["adapters"]
    assert (one["name"], one["method"], told["unexpected"]) == ("sst", "bottleneck", [])
    same_as_said(one, part, model.adapters["sst"].state_dict())


def test_what_is_wrong_inside_is_told(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    for name in ("a", "b"):
        add_random(model, name, "seq_bn")
    model.save_pretrained(tmp_path)
    parts = {name: of_file(tmp_path / "adapters" / name, "adapter") for name in ("a", "b")}
    first, second, *_ = parts["a"]
    parts["a"] |= {first: parts["a"][first][..., 1:].clone()}
    del parts["a"][second]
    bare = {name.removeprefix("bert."): one for part in parts.values() for name, one in part.items()}
    safetensors.torch.save_file({**tensors_in(tmp_path), **bare}, tmp_path / "model.safetensors")
    said = {"adapters": {"a": "x", "b": "x"}, "config_map": {"x": model.adapters["a"].config.to_dict()}}
    edit_config(tmp_path, drop=("adapterzoo",), adapters=said)
    told = facts(command, tmp_path, whole=False)
    stem = "adapter 'a' inside: "
    assert len(told["problems"]) == 2 and all(problem.startswith(stem) for problem in told["problems"])
    assert f"{stem}{second.removeprefix('bert.')} is not there" in told["problems"]
    edit_config(tmp_path, adapters={**said, "config_map": {"x": {"architecture": "unheard"}}})
    told = facts(command, tmp_path, whole=False)
    assert len(told["problems"]) == 2 and "unheard" in told["problems"][0]
    assert sorted(name for one in within(told) for name in one["unexpected"]) == sorted(bare)


@pytest.mark.parametrize(
    "said", ["x", {"adapters": 5}, {"adapters": {"a": {}}, "config_map": [1]}, {"adapters": {"a": [3]}}]
)
def test_entries_that_mean_nothing_are_told(said: Any, tmp_path: Path, command: Command) -> None:
    tiny_model("bert").save_pretrained(tmp_path)
    edit_config(tmp_path, adapters=said)
    told = facts(command, tmp_path, whole=False)
    (problem,) = told["problems"]
    assert problem.startswith("config.json does not tell what is inside the model: ") and told["inside"] == {}


def test_names_of_what_is_not_inside_any_more_are_passed_over(tmp_path: Path, command: Command) -> None:
    tiny_model("bert").save_pretrained(tmp_path)
    edit_config(tmp_path, adapters={"adapters": {"a": "lora"}, "config_map": {}}, prediction_heads={})
    assert (facts(command, tmp_path)["format"], facts(command, tmp_path)["inside"]) == ("hf", {})


def test_a_plain_model_whose_config_names_no_adapter_is_hugging_faces(tmp_path: Path, command: Command) -> None:
    tiny_model("bert").save_pretrained(tmp_path)
    edit_config(tmp_path, adapters={"adapters": {}, "config_map": {}}, prediction_heads={})
    assert (facts(command, tmp_path)["format"], facts(command, tmp_path)["inside"]) == ("hf", {})
