"""Other libraries' checkpoints, and pickles, through the commands: read by another process, told by their own names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from adapterzoo import formats
from tests.helpers.adapting import add_random
from tests.helpers.converting import PICKLE, Command, command, rewrite, same_tensors, saved, tensors_in
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
