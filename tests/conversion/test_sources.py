"""Other libraries' checkpoints, and pickles, through the commands: read by another process, told by their own names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import adapterzoo
from adapterzoo import formats
from tests.helpers.adapting import add_random
from tests.helpers.converting import PICKLE, Command, command, facts, rewrite, same_tensors, saved, tensors_in
from tests.helpers.fairseq_files import save, tiny_roberta
from tests.helpers.tiny import tiny_model

__all__ = ["command"]  # a fixture
TENSORFLOW = Path(__file__).parent / "fixtures" / "bert_ckpt"


def test_googles_bert_becomes_a_checkpoint(tmp_path: Path, command: Command) -> None:
    done = command("convert", TENSORFLOW, tmp_path / "dst")
    assert done.code == 0 and "BertForPreTraining" in done.out and str(TENSORFLOW) in done.out
    assert (tmp_path / "dst" / "vocab.txt").is_file()
    assert command("verify", tmp_path / "dst", "--against", "transformers", "-q").code == 0
    assert command("verify", TENSORFLOW, tmp_path / "dst", "-q", "--tolerance", "0").code == 0


def test_fairseqs_roberta_becomes_a_checkpoint(tmp_path: Path, sapiens_dir: Path, command: Command) -> None:
    source = next(sapiens_dir.rglob("*.pt"))
    refused = command("convert", source, tmp_path / "dst")
    assert refused.code == 1 and PICKLE in refused.err and not (tmp_path / "dst").exists()
    assert command("convert", source, tmp_path / "dst", PICKLE).code == 0
    assert json.loads((tmp_path / "dst" / "config.json").read_text())["architectures"] == ["RobertaForMaskedLM"]
    assert command("verify", tmp_path / "dst", "--against", "transformers", "-q").code == 0
    told = json.loads(command("inspect", source, PICKLE, "--json").out)
    assert (told["source"], told["architecture"]) == (str(source), "roberta")


def test_of_fairseqs_heads_one_is_taken(tmp_path: Path, command: Command) -> None:
    save(tmp_path / "src", tiny_roberta(False, False, heads=("a.b", "mnli")))
    words, choice = ("convert", tmp_path / "src", tmp_path / "dst", PICKLE), ("--fairseq-head", "mnli")
    done = command(*words)
    assert done.code == 1 and "choose one of a.b, mnli, lm_head (" in done.err and "--fairseq-head" in done.err
    done = command(*words, "--fairseq-head", "mnly")
    assert done.code == 1 and "did you mean 'mnli'" in done.err and not (tmp_path / "dst").exists()
    assert command(*words, *choice, "--verify", "--to", "adapterzoo", "--head", "nli", "-q").code == 0
    assert json.loads((tmp_path / "dst" / "conversion.json").read_text())["options"]["fairseq_head"] == "mnli"
    assert command("verify", tmp_path / "src", tmp_path / "dst", PICKLE, *choice, "-q").code == 0
    assert command("diff", tmp_path / "src", tmp_path / "src", PICKLE, *choice).code == 1  # B has no choice
    told = facts(command, tmp_path / "src", "--fairseq-head", "lm_head")
    assert told["class"] == "RobertaForMaskedLM" and any("mnli" in name for name in told["unused"])
    model = adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "dst")
    assert list(model.heads) == ["nli"]
    model.add_adapter("x", "lora")
    model.save_adapter(tmp_path / "x", "x", with_head=False)
    assert command("merge", tmp_path / "src", tmp_path / "x", tmp_path / "merged", PICKLE, *choice).code == 0
    assert command("diff", tmp_path / "src", tmp_path / "merged", PICKLE, *choice).code == 0
    done = command("inspect", tmp_path / "dst", *choice)
    assert done.code == 1 and "dst' is none" in done.err


def test_what_is_read_from_a_pickle_is_told_of_the_pickle(tmp_path: Path, command: Command) -> None:
    saved(tmp_path / "src")
    rewrite(tmp_path / "src", lambda tensors: dict(list(tensors.items())[1:]), pickled=True)
    done = command("convert", tmp_path / "src", tmp_path / "dst", PICKLE)
    assert done.code == 1 and done.err.startswith(f"error: {tmp_path / 'src'} is no whole ")


def test_an_adapters_pickle_is_read_by_another_process(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert")
    add_random(model, "a", "lora")
    model.save_adapter(tmp_path / "src", "a")
    tensors = dict(formats.read(tmp_path / "src").tensors)
    (tmp_path / "src" / "adapter.safetensors").unlink()
    torch.save({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "src" / "pytorch_adapter.bin")
    monkeypatch.setattr(torch, "load", None)  # of this process
    assert PICKLE in command("convert", tmp_path / "src", tmp_path / "dst").err
    assert command("convert", tmp_path / "src", tmp_path / "dst", PICKLE, "-q").code == 0
    same_tensors(dict(formats.read(tmp_path / "dst").tensors), tensors)


def test_safetensors_beside_a_pickle_are_read_in_its_place(tmp_path: Path, command: Command) -> None:
    saved(tmp_path / "src")
    tensors = tensors_in(tmp_path / "src")
    (tmp_path / "src" / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert command("convert", tmp_path / "src", tmp_path / "dst", "-q").code == 0
    same_tensors(tensors_in(tmp_path / "dst"), tensors)


def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    shutil.copytree(TENSORFLOW, tmp_path / "src")
    assert command("inspect", tmp_path / "src").code == 0
    (tmp_path / "src" / "bert_config.json").write_text("{}")
    assert command("inspect", tmp_path / "src").code == 1
    assert not list(room.iterdir())
