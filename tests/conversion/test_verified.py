"""`--verify`: what does not compute what its source does is not written; and `conversion.json` tells of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo import formats
from adapterzoo.version import __version__
from tests.helpers.adapting import add_random
from tests.helpers.converting import Command, command, convert, rewrite, saved, tensors_in
from tests.helpers.tiny import tiny_model
from weights_conversion import converting_models, converting_parts, merge_command

__all__ = ["command"]  # a fixture


@pytest.fixture
def src(tmp_path: Path) -> Path:
    saved(tmp_path / "src")
    return tmp_path / "src"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter with a head, and beside it its model as `base`."""
    torch.manual_seed(0)
    model = tiny_model("bert")
    model.save_pretrained(tmp_path / "base")
    add_random(model, "a", "lora")
    model.add_classification_head("a", num_labels=3, layers=1, activation_function=None, use_pooler=True)
    model.save_adapter(tmp_path / "adapter", "a")
    return tmp_path / "adapter"


def record(folder: Path) -> dict[str, Any]:
    """What `conversion.json` holds."""
    told: dict[str, Any] = json.loads((folder / "conversion.json").read_text())
    return told


def spoiled(write: Callable[..., Any], file: str) -> Callable[..., Any]:
    """The same function, but that it doubles all numbers of a file in the folder that it writes to."""

    def run(*given: Any, **options: Any) -> Any:
        result = write(*given, **options)
        folder = next(one for one in given if isinstance(one, Path) and (one / file).exists())
        content = formats.read(folder)
        changed = {name: tensor * 2 for name, tensor in content.tensors.items()}
        formats.write(formats.Content(content.kind, content.format, content.config, changed), folder)
        return result

    return run


def test_the_record_tells_the_source_the_options_the_mapping_and_the_differences(src: Path, tmp_path: Path) -> None:
    told = record(convert(src, tmp_path / "dst", "--to", "adapterzoo", "--verify"))
    assert told["adapterzoo"] == __version__ and told["source"]["name"] == "src"
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in src.iterdir()}
    assert told["source"]["sha256"] == files
    assert told["options"]["to"] == "adapterzoo" and told["options"]["dtype"] is None
    source, written = tensors_in(src), formats.read(tmp_path / "dst")
    assert set(told["tensors"]) == set(source)
    there = {**written.tensors, **{f"heads/default: {k}": t for k, t in written.parts["heads/default"].tensors.items()}}
    for name, names in told["tensors"].items():
        assert names and all(torch.equal(there[one], source[name]) for one in names), name
    assert {one for names in told["tensors"].values() for one in names} == set(there)
    outcome = told["verified"]
    assert outcome["same"] and all(one["largest"] == 0 for one in outcome["outputs"])
    assert {"logits"} <= {one["name"] for one in outcome["outputs"]}


def test_a_pickles_hash_is_its_own(src: Path, tmp_path: Path) -> None:
    rewrite(src, dict, pickled=True)
    told = record(convert(src, tmp_path / "dst", "--verify"))
    digest = hashlib.sha256((src / "pytorch_model.bin").read_bytes()).hexdigest()
    assert told["source"]["sha256"]["pytorch_model.bin"] == digest


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_lower_dtype_has_a_tolerance_that_follows_from_it(
    dtype: str, src: Path, tmp_path: Path, command: Command
) -> None:
    outcome = record(convert(src, tmp_path / "dst", "--dtype", dtype, "--verify"))["verified"]
    epsilon = torch.finfo(getattr(torch, dtype)).eps
    assert dtype in outcome["rule"] and f"{epsilon:.3g}" in outcome["rule"]
    for one in outcome["outputs"]:
        layers = round(one["tolerance"] / one["scale"] / epsilon) - 1
        assert layers >= 2 and 0 < one["largest"] < one["tolerance"], one
    strict = ("--dtype", dtype, "--verify", "--tolerance", "1e-9")
    done = command("convert", src, tmp_path / "strict", *strict)
    assert done.code == 1 and "does not compute what its source does" in done.err and "logits: differs" in done.err
    assert not (tmp_path / "strict").exists()


def test_what_differs_is_not_written(src: Path, tmp_path: Path, command: Command, monkeypatch: Any) -> None:
    monkeypatch.setattr(converting_models, "write", spoiled(converting_models.write, "model.safetensors"))
    done = command("convert", src, tmp_path / "dst", "--verify")
    assert done.code == 1 and "logits: differs" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["src"]
    assert command("convert", src, tmp_path / "dst").code == 0


@pytest.mark.parametrize("to", ["peft", "adapterhub"])
def test_an_adapter_is_run_in_its_model(
    to: str, adapter: Path, tmp_path: Path, command: Command, monkeypatch: Any
) -> None:
    words = ("convert", adapter, tmp_path / "dst", "--to", to, "--verify")
    done = command(*words)
    assert done.code == 2 and "--base" in done.err and not (tmp_path / "dst").exists()
    assert command(*words, "--base", tmp_path / "base").code == 0
    told = record(tmp_path / "dst")
    source = formats.read(adapter)
    assert set(told["tensors"]) == {*source.tensors, *source.parts["head"].tensors}
    written = formats.read(tmp_path / "dst")
    there = {**written.tensors, **(written.parts["head"].tensors if written.parts else {})}
    assert {one for names in told["tensors"].values() for one in names} == set(there)
    assert told["base"]["name"] == "base" and "logits" in {one["name"] for one in told["verified"]["outputs"]}
    file = formats.content.FILES[1 if to == "peft" else 2].weights[0]
    monkeypatch.setattr(converting_parts, "convert_adapter", spoiled(converting_parts.convert_adapter, file))
    done = command("convert", adapter, tmp_path / "new", *words[3:], "--base", tmp_path / "base")
    assert done.code == 1 and "differs by" in done.err and not (tmp_path / "new").exists()


def test_a_merge_is_compared_with_the_stack(adapter: Path, tmp_path: Path, command: Command, monkeypatch: Any) -> None:
    done = command("merge", tmp_path / "base", adapter, tmp_path / "dst", "--verify")
    assert (done.code, done.err) == (0, "")
    told = record(tmp_path / "dst")
    assert told["verified"]["same"] and told["adapter 1"]["name"] == "adapter"
    monkeypatch.setattr(merge_command, "merged", spoiled(merge_command.merged, "model.safetensors"))
    done = command("merge", tmp_path / "base", adapter, tmp_path / "new", "--verify")
    assert done.code == 1 and "differs by" in done.err and not (tmp_path / "new").exists()


def test_a_dry_run_verifies_and_leaves_nothing(src: Path, tmp_path: Path, command: Command) -> None:
    done = command("convert", src, tmp_path / "dst", "--verify", "--dry-run", "--json", "--dtype", "bfloat16")
    told = json.loads(done.out)
    assert done.code == 0 and not told["written"] and told["record"]["verified"]["same"]
    assert (told["to"], told["dtype"]) == ("hf", "bfloat16")
    assert {"model.safetensors", "config.json", "conversion.json"} <= {one["name"] for one in told["files"]}
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_dry_run_names_the_files_that_would_come(src: Path, tmp_path: Path, command: Command) -> None:
    words = ("convert", src, tmp_path / "dst", "--shard-size", "20KB", "--json")
    before, after = (json.loads(command(*words, *more).out) for more in (["--dry-run"], []))
    names = [{one["name"] for one in told["files"]} for told in (before, after)]
    assert names[0] == names[1] and len(names[0]) > 4
    assert all(one["bytes"] for one in after["files"]) and before["source"] == after["source"]


def test_a_dry_run_of_an_adapter_is_refused_as_the_real_one(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    model.add_adapter("a", "seq_bn")
    model.save_adapter(tmp_path / "adapter", "a")
    words = ("convert", tmp_path / "adapter", tmp_path / "dst", "--to", "peft")
    real, dry = command(*words), command(*words, "--dry-run")
    assert real.code == dry.code == 1 and real.err == dry.err and "PEFT has nothing that computes" in dry.err
    done = command(*words[:3], "--dry-run", "--json", "--name", "b")
    assert done.code == 0 and "adapter.safetensors" in done.out and not (tmp_path / "dst").exists()


def test_a_base_in_pickles_format_is_opened_like_the_source(adapter: Path, tmp_path: Path, command: Command) -> None:
    rewrite(tmp_path / "base", dict, pickled=True)
    words = ("convert", adapter, tmp_path / "dst", "--to", "peft", "--base", tmp_path / "base", "--verify")
    done = command(*words)
    assert done.code == 1 and "--allow-pickle" in done.err and not (tmp_path / "dst").exists()
    assert command(*words, "--allow-pickle").code == 0
    assert command("merge", tmp_path / "base", adapter, tmp_path / "merged", "--allow-pickle").code == 0


@pytest.mark.parametrize("words", [["--base", "x"], ["--name", "x"], ["--without-head"]], ids=str)
def test_options_for_others_are_wrong_use(words: list[str], src: Path, tmp_path: Path, command: Command) -> None:
    done = command("convert", src, tmp_path / "dst", *words)
    assert done.code == 2 and "is not for models" in done.err
