"""`inspect` tells whose format it is, who wrote it, and which files it lies in."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from adapterzoo import Stack
from adapterzoo.conversion.written_by import of_adapterhub
from adapterzoo.formats.tensorflow import Bundle
from tests.conversion.test_tensorflow import SAVED
from tests.helpers.adapting import add_random
from tests.helpers.converting import Command, accounted, command, edit_config, facts, saved, tensors_in
from tests.helpers.fuzz.readers import furnished, make_pickled, make_prompt, make_sharded
from tests.helpers.tiny import tiny_model

__all__ = ["command"]  # a fixture


def files(told: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """The format of each file, and whether it is read."""
    return {one["name"]: (one["format"], one["read"]) for one in told["files"]}


def test_a_model_in_one_file(tmp_path: Path, command: Command) -> None:
    saved(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    (tmp_path / "notes.txt").write_text("of somebody")
    told = facts(command, tmp_path)
    assert (told["format"], told["shards"]) == ("hf", None)
    assert (
        told["library"] == f"transformers {json.loads((tmp_path / 'config.json').read_text())['transformers_version']}"
    )
    assert files(told) == {
        "model.safetensors": ("safetensors", True),
        "config.json": ("json", True),
        "vocab.txt": ("text", True),
    }
    assert all(one["bytes"] == (tmp_path / one["name"]).stat().st_size for one in told["files"])


def test_a_model_in_shards(tmp_path: Path, command: Command) -> None:
    make_sharded(tmp_path)
    told = facts(command, tmp_path)
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert told["shards"] == 2
    assert list(files(told)) == ["model.safetensors.index.json", *shards, "config.json"]
    out = command("inspect", tmp_path).out
    size = sum((tmp_path / name).stat().st_size for name in shards)
    assert f"format      Hugging Face, safetensors, 2 shards, {size:,} bytes" in out


@pytest.mark.parametrize("in_shards", [False, True])
def test_pickles_are_told_by_their_own_names_and_what_is_not_read_is_told(
    in_shards: bool, tmp_path: Path, command: Command
) -> None:
    make_pickled(tmp_path)
    if in_shards:
        tensors = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
        (tmp_path / "pytorch_model.bin").unlink()
        where = {name: f"pytorch_model-0000{1 + number % 2}-of-00002.bin" for number, name in enumerate(tensors)}
        for file in set(where.values()):
            torch.save({name: tensors[name] for name in tensors if where[name] == file}, tmp_path / file)
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    told = facts(command, tmp_path)
    pickles = {path.name for path in tmp_path.glob("*.bin")}
    assert told["shards"] == (2 if in_shards else None)
    assert {name for name, found in files(told).items() if found == ("pickle", True)} == pickles
    assert not any(name.endswith(".safetensors") for name in files(told))
    assert str(tmp_path) == told["source"]
    saved(tmp_path)
    told = facts(command, tmp_path)
    assert files(told)["model.safetensors"] == ("safetensors", True)
    beside = "pytorch_model.bin.index.json" if in_shards else "pytorch_model.bin"
    assert files(told)[beside] == ("json" if in_shards else "pickle", False)
    assert "not read" in command("inspect", tmp_path).out


def test_each_part_of_a_saved_model_has_its_own_files(tmp_path: Path, command: Command) -> None:
    furnished().save_pretrained(tmp_path)
    told = facts(command, tmp_path)
    assert (told["format"], told["library"]) == ("adapterzoo", None)
    assert list(files(told["adapters"][0])) == ["adapter.safetensors", "adapter_config.json"]
    assert list(files(told["fusions"][0])) == ["model_adapter_fusion.safetensors", "adapter_fusion_config.json"]
    assert list(files(told["heads"][0])) == ["model_head.safetensors", "head_config.json"]
    assert "tokenizer/tokenizer.json" in files(told["embeddings"][0])
    every = [
        *told["files"],
        *(file for kind in ("adapters", "fusions", "heads") for one in told[kind] for file in one["files"]),
    ]
    every += told["embeddings"][0]["files"]
    assert sum(one["bytes"] for one in every) == sum(
        path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()
    )


def test_an_adapters_pickle_and_the_head_beside_it(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    add_random(model, "a", "lora[r=2]")
    model.add_classification_head("a", num_labels=2)
    model.save_adapter_setup(tmp_path, Stack("a"), head_setup="a")
    for name, pickled in (("adapter", "pytorch_adapter"), ("model_head", "pytorch_model_head")):
        path = tmp_path / "a" / f"{name}.safetensors"
        torch.save(safetensors.torch.load_file(path), path.with_name(f"{pickled}.bin"))
        path.unlink()
    told = facts(command, tmp_path)
    (adapter,) = told["adapters"]
    assert files(told) == {"adapter_setup.json": ("json", True)}
    assert files(adapter) == {"pytorch_adapter.bin": ("pickle", True), "adapter_config.json": ("json", True)}
    assert files(adapter["head"]) == {"pytorch_model_head.bin": ("pickle", True), "head_config.json": ("json", True)}
    assert adapter["source"] == str(tmp_path / "a")


@pytest.mark.parametrize(
    ("said", "wrote"),
    [
        ({"version": "adapters.1.2.0"}, "adapters 1.2.0"),
        ({"version": "3.2.1"}, "adapter-transformers 3.2.1"),
        ({}, "adapter-transformers before 3.0.1"),
        ({"type": "text_task"}, "adapter-transformers 1"),
        ({"version": 3}, "adapter-transformers before 3.0.1"),
    ],
)
def test_the_version_that_wrote_an_adapter_is_told(
    said: dict[str, Any], wrote: str, tmp_path: Path, command: Command
) -> None:
    model = tiny_model("bert")
    add_random(model, "a", "seq_bn")
    model.save_adapter(tmp_path, "a")
    path = tmp_path / "adapter_config.json"
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != "version"}
    path.write_text(json.dumps({**content, **said}))
    told = facts(command, tmp_path)
    assert (told["library"], told["version"]) == (wrote, said.get("version"))
    assert f"format   AdapterHub, {wrote}, safetensors" in command("inspect", tmp_path).out


def test_names_of_tensors_tell_the_first_version() -> None:
    assert of_adapterhub({}, ["bert.encoder.layer.0.output.layer_text_task_adapters.a.x"]) == "adapter-transformers 1"
    assert of_adapterhub({}, ["bert.encoder.layer.0.output.adapters.a.x"]) == "adapter-transformers before 3.0.1"


def test_an_adapter_of_pefts_is_for_the_architecture_that_is_named(tmp_path: Path, command: Command) -> None:
    make_prompt(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "peft_version": "0.18.1"}))
    told = facts(command, tmp_path)
    assert (told["format"], told["library"]) == ("peft", "peft 0.18.1")
    assert " or " in told["architecture"]
    assert facts(command, tmp_path, "--model-type", "roberta")["architecture"] == "roberta"
    assert "format   PEFT, peft 0.18.1, safetensors" in command("inspect", tmp_path).out


def test_an_adapter_of_pefts_in_a_folder_of_its_own_and_a_config_beside_it(tmp_path: Path, command: Command) -> None:
    make_prompt_in = tmp_path / "out" / "mine"
    make_prompt_in.mkdir(parents=True)
    make_prompt(make_prompt_in)
    assert facts(command, tmp_path / "out")["name"] == "mine"
    (make_prompt_in / "config.json").write_text('{"model_type": "bert"}')
    assert facts(command, make_prompt_in)["kind"] == "adapter"


# ---------------------------------------------------------------------------------------------- foreign


def test_googles_bert_is_told_by_its_own_names(command: Command) -> None:
    told, bundle = facts(command, SAVED), Bundle(SAVED / "bert_model.ckpt")
    assert (told["format"], told["library"]) == ("tensorflow", None)
    assert accounted(told) == sorted(bundle)
    for row in told["tensors"]:
        assert row["shape"] == list(bundle[row["theirs"]].shape), row
        assert row.get("transposed", False) == row["theirs"].endswith("/kernel")
    assert "global_step" in told["unused"] and told["made"] == []
    assert files(told) == {
        "bert_model.ckpt.index": ("tensorflow", True),
        "bert_model.ckpt.data-00000-of-00001": ("tensorflow", True),
        "bert_config.json": ("json", True),
        "vocab.txt": ("text", True),
    }
    out = command("inspect", SAVED).out
    assert "bert/encoder/layer_{0-1}/attention/self/query/kernel" in out and "format      TensorFlow, " in out


def test_fairseqs_roberta_is_told_by_its_own_names(sapiens_dir: Path, command: Command) -> None:
    source = sapiens_dir / "checkpoint_vh.pt"
    told = facts(command, source)
    with torch.serialization.safe_globals([Namespace]):
        there = torch.load(source, map_location="cpu", weights_only=True)["model"]
    assert accounted(told) == sorted(there)
    assert all(row["shape"] == list(there[row["theirs"]].shape) for row in told["tensors"])
    assert (told["format"], told["unused"]) == ("fairseq", ["decoder.lm_head.weight"])
    assert told["made"] == ["roberta.embeddings.token_type_embeddings.weight"]
    assert all(row["theirs"].startswith("decoder.") for row in told["tensors"])
    assert all(row["hf"].startswith(("roberta.", "lm_head.")) for row in told["tensors"])
    assert files(told) == {"checkpoint_vh.pt": ("pickle", True), "dict.txt": ("text", True)}


def test_a_library_that_does_not_say_its_version(tmp_path: Path, command: Command) -> None:
    saved(tmp_path)
    edit_config(tmp_path, drop=("transformers_version",))
    assert facts(command, tmp_path)["library"] is None
    assert len(tensors_in(tmp_path)) == len(facts(command, tmp_path)["tensors"])


def test_json_is_what_every_program_reads(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    add_random(model, "a", "seq_bn")
    model.save_adapter(tmp_path, "a")
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text().replace('"adapters.1.3.0"', "NaN"))

    def refuse(word: str) -> None:
        raise AssertionError(word)

    told = json.loads(command("inspect", tmp_path, "--json").out, parse_constant=refuse)
    assert (told["version"], told["library"]) == (None, "adapter-transformers before 3.0.1")


def test_help_teaches(command: Command) -> None:
    out = command("inspect", "--help").out
    examples = [line.split() for line in out.splitlines() if line.startswith("  inspect ")]
    assert len(examples) == 4 and examples[1][:3] == ["inspect", "bert", "--json"]
    out = " ".join(out.split())
    for word in ("fusion", "setup", "embedding", "NaN", "before any training", "Exits with 1"):
        assert word in out
