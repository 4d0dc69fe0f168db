"""`diff`, `verify`, `merge`, and `convert` of adapters, to flexible heads and into shards."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import adapterzoo
from adapterzoo import formats
from adapterzoo.conversion.drawing import drawn_inputs
from tests.helpers.adapting import add_random
from tests.helpers.converting import PICKLE, Command, command, rewrite, same_tensors, saved, tensors_in
from tests.helpers.tiny import tiny_model

__all__ = ["command"]  # a fixture


@pytest.fixture
def src(tmp_path: Path) -> Path:
    saved(tmp_path / "src")
    return tmp_path / "src"


def adapted(folder: Path, kind: str = "lora", architecture: str = "bert", head: bool = True) -> object:
    """Save a model, and beside it an adapter of its own with a head; returns the model with both."""
    torch.manual_seed(0)
    model = tiny_model(architecture)
    model.save_pretrained(folder / "base")
    name = add_random(model, "a", kind) or "a"
    if head:
        model.add_classification_head("a", num_labels=3, layers=1, use_pooler=architecture == "bert")
    model.save_adapter(folder / "adapter", name)
    model.set_active_adapters(name)
    return model


def test_diff_tells_each_kind_of_difference(src: Path, tmp_path: Path, command: Command) -> None:
    tensors = tensors_in(src)
    first, second, third, fourth = [name for name, tensor in tensors.items() if tensor.dim() == 2][:4]
    other = tmp_path / "other"
    os.rename(src, other)
    saved(src)
    rewrite(src, lambda _: dict(tensors))
    changed = {name: tensor for name, tensor in tensors.items() if name not in (second, third)}
    changed |= {first: tensors[first] + 1e-4, "new.name": tensors[second], fourth: tensors[fourth][:-1].clone()}
    rewrite(other, lambda _: changed)
    done = command("diff", src, other, PICKLE, "--json", "--tolerance", "1e-3")
    told = {line["first"] or line["second"]: line for line in json.loads(done.out)["tensors"]}
    assert done.code == 1 and not json.loads(done.out)["same"]
    assert told[first]["state"] == "close" and told[first]["largest"] == pytest.approx(1e-4, rel=0.01)
    assert (told[second]["state"], told[second]["second"]) == ("renamed", "new.name")
    assert told[third]["state"] == "only in the first"
    assert told[fourth]["state"] == "different" and "shape" in told[fourth]["why"]
    assert sum(line["state"] == "equal" for line in told.values()) == len(tensors) - 4
    assert len(told) == len(tensors)
    said = command("diff", src, other, PICKLE)
    assert said.code == 1 and f"different: {first} (largest difference 0.0001)" in said.out
    assert command("diff", src, src, PICKLE).out == f"{len(tensors)} equal\n"


def test_what_is_no_number_is_null_in_json(src: Path, tmp_path: Path, command: Command) -> None:
    tensors = tensors_in(src)
    name = next(name for name in tensors if tensors[name].dim() == 2)
    assert command("convert", src, tmp_path / "other", "-q").code == 0
    rewrite(tmp_path / "other", lambda _: {**tensors, name: torch.full_like(tensors[name], torch.nan)})
    for words, key in (
        (["diff", src, tmp_path / "other"], "tensors"),
        (["verify", tmp_path / "other", src], "outputs"),
    ):
        done = command(*words, "--json")
        assert done.code == 1 and "NaN" not in done.out and "Infinity" not in done.out
        assert any(one["largest"] is None for one in json.loads(done.out)[key])


def test_verify_says_where_two_models_part(src: Path, tmp_path: Path, command: Command) -> None:
    assert command("convert", src, tmp_path / "same", "-q").code == 0
    done = command("verify", src, tmp_path / "same", "--json", "--tolerance", "0")
    assert done.code == 0 and json.loads(done.out)["parted_at"] is None
    layer = "encoder.layers.1." if any("layers.1." in name for name in tensors_in(src)) else "encoder.layer.1."
    rewrite(tmp_path / "same", lambda tensors: {n: t * (1 + (layer in n)) for n, t in tensors.items()})
    done = command("verify", src, tmp_path / "same", PICKLE, "--json")
    told = json.loads(done.out)
    assert done.code == 1 and told["parted_at"].endswith("hidden_states.2")
    gaps = {gap["name"]: gap["largest"] for gap in told["outputs"]}
    assert gaps["logits"] > 1e-4 and all(
        gap == 0 for name, gap in gaps.items() if name in ("encoder_hidden_states.0", "encoder_hidden_states.1")
    )
    assert "they part at" in command("verify", src, tmp_path / "same", PICKLE).out


@pytest.mark.parametrize("peer", ["transformers", "adapters", "peft"])
def test_verify_asks_a_peer(peer: str, tmp_path: Path, command: Command) -> None:
    if peer == "transformers":
        saved(tmp_path / "adapter")
        words = []
    else:
        adapted(tmp_path)
        words = ["--base", tmp_path / "base"]
    source = tmp_path / "adapter"
    if peer == "peft":
        assert command("convert", source, tmp_path / "peft", "--to", "peft", "-q", *words).code == 0
        source = tmp_path / "peft"
    done = command("verify", source, "--against", peer, "--json", *words)
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert {"logits"} <= {gap["name"] for gap in told["outputs"]}, done
    assert max(gap["largest"] for gap in told["outputs"]) < 1e-5
    assert any(gap["scale"] > 0.1 for gap in told["outputs"])


def test_merge_writes_what_the_adapter_computes(tmp_path: Path, command: Command) -> None:
    model = adapted(tmp_path)
    (tmp_path / "base" / "vocab.txt").write_text("[PAD]\n")
    done = command("merge", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert done.code == 0 and "BertForSequenceClassification" in done.out
    assert (tmp_path / "merged" / "vocab.txt").is_file()
    plain = adapterzoo.AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    ids = torch.randint(3, 30, (2, 7))
    with torch.no_grad():
        assert torch.allclose(plain(ids).logits, model(ids).logits, atol=1e-5)  # type: ignore[operator]
    assert command("verify", tmp_path / "merged", "--against", "transformers").code == 0
    again = command("merge", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert again.code == 1 and "--force" in again.err


def test_merge_tells_programs_what_it_did_or_would_do(tmp_path: Path, command: Command) -> None:
    adapted(tmp_path)
    words = ("merge", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged", "--json")
    dry = command(*words, "--dry-run")
    assert dry.code == 0 and not (tmp_path / "merged").exists()
    done = command(*words)
    before, after = json.loads(dry.out), json.loads(done.out)
    assert (before.pop("written"), after.pop("written")) == (False, True) and before == after
    assert after["class_name"] == "BertForSequenceClassification" and after["source"]["source"] == str(
        tmp_path / "base"
    )
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {one["name"] for one in after["files"]}
    assert "would write" in command(*words[:-2], tmp_path / "other", "--dry-run").out


@pytest.mark.parametrize("held", ["bfloat16", "float32"])
def test_merge_rounds_once(held: str, tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert").to(getattr(torch, held))
    model.save_pretrained(tmp_path / "base")
    model.double()
    add_random(model, "a", "lora")
    model.adapters["a"].double()
    model.save_adapter(tmp_path / "adapter", "a")
    model.merge_and_unload("a")
    model.to(getattr(torch, held)).save_pretrained(tmp_path / "wanted")
    assert command("merge", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged", "-q").code == 0
    wanted, made = tensors_in(tmp_path / "wanted"), tensors_in(tmp_path / "merged")
    assert {tensor.dtype for tensor in made.values()} == {getattr(torch, held)}
    assert wanted.keys() == made.keys() and all(torch.equal(wanted[name], made[name]) for name in wanted)


def test_merge_refuses_what_has_no_place_in_weights(tmp_path: Path, command: Command) -> None:
    adapted(tmp_path, "seq_bn")
    done = command("merge", tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    assert done.code == 1 and "nothing is merged" in done.err and not (tmp_path / "merged").exists()


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("architecture", ["bert", "bart"])
def test_an_adapter_goes_to_peft_and_back(kind: str, architecture: str, tmp_path: Path, command: Command) -> None:
    adapted(tmp_path, kind, architecture, head=False)
    source, words = tmp_path / "adapter", ["-q", "--base", tmp_path / "base"]
    assert command("convert", source, tmp_path / "peft", "--to", "peft", *words).code == 0
    assert formats.read(tmp_path / "peft").format == "peft"
    assert (
        command("convert", tmp_path / "peft", tmp_path / "back", "--to", "adapterhub", "--name", "a", *words).code == 0
    )
    first, back = formats.read(source), formats.read(tmp_path / "back")
    same_tensors(dict(first.tensors), dict(back.tensors))


def test_without_the_model_an_adapter_is_converted_as_well(tmp_path: Path, command: Command) -> None:
    adapted(tmp_path)
    assert (
        command(
            "convert", tmp_path / "adapter", tmp_path / "with", "--to", "peft", "-q", "--base", tmp_path / "base"
        ).code
        == 0
    )
    assert command("convert", tmp_path / "adapter", tmp_path / "without", "--to", "peft", "-q").code == 0
    same_tensors(dict(formats.read(tmp_path / "with").tensors), dict(formats.read(tmp_path / "without").tensors))


def test_what_the_other_library_has_not_is_refused_with_the_reason(tmp_path: Path, command: Command) -> None:
    adapted(tmp_path, "seq_bn")
    done = command("convert", tmp_path / "adapter", tmp_path / "dst", "--to", "peft")
    assert done.code == 1 and "PEFT has nothing that computes" in done.err and not (tmp_path / "dst").exists()


def test_what_is_not_in_the_files_is_not_guessed(tmp_path: Path, command: Command) -> None:
    adapted(tmp_path, "prefix_tuning_flat", head=False)
    done = command("convert", tmp_path / "adapter", tmp_path / "dst", "--to", "peft")
    assert done.code == 1 and "--base" in done.err and not (tmp_path / "dst").exists()
    words = ["--to", "peft", "--base", tmp_path / "base"]
    assert command("convert", tmp_path / "adapter", tmp_path / "dst", *words).code == 0


def test_a_fixed_head_becomes_flexible(src: Path, tmp_path: Path, command: Command) -> None:
    assert command("convert", src, tmp_path / "dst", "--to", "adapterzoo", "-q").code == 0
    flexible = adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "dst")
    fixed = adapterzoo.AutoModelForSequenceClassification.from_pretrained(src)
    inputs = drawn_inputs(fixed)
    with torch.no_grad():
        assert torch.equal(flexible(**inputs).logits, fixed(**inputs).logits)


def test_shards_are_read_back(src: Path, tmp_path: Path, command: Command) -> None:
    assert command("convert", src, tmp_path / "dst", "--shard-size", "20KB", "-q").code == 0
    files = sorted(path.name for path in (tmp_path / "dst").glob("model-*.safetensors"))
    assert len(files) > 1 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    same_tensors(dict(formats.read(tmp_path / "dst").tensors), tensors_in(src))
    assert command("verify", tmp_path / "dst", "--against", "transformers").code == 0
    assert command("convert", tmp_path / "dst", tmp_path / "one", "-q").code == 0
    same_tensors(tensors_in(tmp_path / "one"), tensors_in(src))
