"""Heads, fusions, setups, and adapters of the first versions go through `convert`: what comes out is of today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapterzoo import AutoAdapterModel, AutoModel, BertConfig, Fuse, Stack
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import add_random
from tests.helpers.converting import Command, command
from tests.helpers.hf_batches import batch
from tests.helpers.peer_adapters import hidden, peer_model, same
from tests.helpers.tiny import randomise, tiny_model

__all__ = ["command"]  # a fixture


@pytest.fixture(scope="module")
def model() -> Any:
    """A BERT with three adapters, a fusion of two, and two heads."""
    made = tiny_model("bert")
    for name, config in (("a", "lora[r=2]"), ("b", "seq_bn[reduction_factor=8]"), ("c", "seq_bn[reduction_factor=8]")):
        add_random(made, name, config)
    made.add_adapter_fusion(Fuse("b", "c"))
    randomise(made.fusions)
    made.add_classification_head("a", num_labels=3, id2label={0: "no", 1: "yes", 2: "maybe"})
    made.add_masked_lm_head("words")
    randomise(made.heads)
    return made


def tensors_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of each file below a folder."""
    return {path.relative_to(folder).as_posix(): load_file(path) for path in sorted(folder.rglob("*.safetensors"))}


def assert_same(first: Path, second: Path) -> None:
    one, other = tensors_of(first), tensors_of(second)
    assert one.keys() == other.keys() and one
    for file, tensors in one.items():
        assert tensors.keys() == other[file].keys()
        assert all(torch.equal(tensor, other[file][name]) for name, tensor in tensors.items())


def bare(model: Any) -> Any:
    """A model of the same sizes with nothing added."""
    return AutoAdapterModel.from_config(BertConfig.from_dict(model.config.to_dict()))


@pytest.mark.parametrize("kind", ["head", "fusion", "setup"])
def test_what_is_of_today_stays_as_it_is(kind: str, model: Any, tmp_path: Path, command: Command) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    setup = Stack("a", Fuse("b", "c"))
    save = {
        "head": lambda: model.save_head(source, "a"),
        "fusion": lambda: model.save_adapter_fusion(source, Fuse("b", "c")),
        "setup": lambda: model.save_adapter_setup(source, setup, head_setup="a"),
    }
    save[kind]()
    done = command("convert", source, target, "-q")
    assert (done.code, done.err) == (0, "")
    assert_same(source, target)
    other = bare(model)
    if kind == "head":
        other.load_head(target)
        assert other.heads["a"].config == model.heads["a"].config
    elif kind == "setup":
        other.load_adapter_setup(target, set_active=True)
        assert (other.active_adapters, list(other.adapters)) == (setup, ["a", "b", "c"])
    else:
        for name in "bc":
            add_random(other, name, "seq_bn[reduction_factor=8]")
        other.load_adapter_fusion(target)
        assert list(other.fusions) == list(model.fusions)


def test_a_head_gets_another_name_and_dtype(model: Any, tmp_path: Path, command: Command) -> None:
    model.save_head(tmp_path / "source", "a")
    words = ("--name", "mine", "--dtype", "bfloat16")
    assert command("convert", tmp_path / "source", tmp_path / "target", "-q", *words).code == 0
    other = bare(model)
    other.load_head(tmp_path / "target")
    mine, theirs = other.heads["mine"].state_dict(), model.heads["a"].state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name].bfloat16().float()) for name, tensor in mine.items())


def test_a_head_of_words_needs_no_model(model: Any, tmp_path: Path, command: Command) -> None:
    model.save_head(tmp_path / "source", "words")
    assert command("convert", tmp_path / "source", tmp_path / "target", "-q").code == 0
    assert_same(tmp_path / "source", tmp_path / "target")


def test_a_dry_run_writes_nothing_and_tells_of_refusals(model: Any, tmp_path: Path, command: Command) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    model.save_adapter_fusion(source, Fuse("b", "c"))
    assert command("convert", source, target, "--dry-run").code == 0
    path = source / "adapter_fusion_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "config": {**content["config"], "query": "much"}}))
    done = command("convert", source, target, "--dry-run")
    assert done.code == 1 and "query" in done.err
    assert not target.exists()


def test_what_a_part_cannot_become_is_told(model: Any, tmp_path: Path, command: Command) -> None:
    model.save_head(tmp_path / "source", "a")
    done = command("convert", tmp_path / "source", tmp_path / "target", "--to", "peft")
    assert done.code == 1 and "is a head, and what a head can become is adapterhub" in done.err


OLD = {  # as adapter-transformers 1 wrote it, whose "gelu" was what is called gelu_new now
    "type": "text_task",
    "name": "sst",
    "model_type": "bert",
    "model_name": "bert-base-uncased",
    "model_class": "BertModelWithHeads",
    "hidden_size": 32,
    "config": {
        "ln_after": False,
        "ln_before": False,
        "mh_adapter": False,
        "output_adapter": True,
        "adapter_residual_before_ln": False,
        "non_linearity": "gelu",
        "original_ln_after": True,
        "original_ln_before": True,
        "reduction_factor": 4,
        "residual_before_ln": True,
        "invertible_adapter": {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2},
    },
}


@torch.no_grad()
def test_an_adapter_of_version_1_opens_in_the_library_of_today(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    add_random(model, "sst", "seq_bn[reduction_factor=4, non_linearity='gelu_new']")
    model.save_adapter(tmp_path / "new", "sst", with_head=False)
    tensors = load_file(tmp_path / "new" / "adapter.safetensors")
    old = {key.replace("output.adapters.", "output.layer_text_task_adapters."): tensors[key] for key in tensors}
    assert old.keys().isdisjoint(tensors)
    (tmp_path / "old").mkdir()
    torch.save(old, tmp_path / "old" / "pytorch_adapter.bin")
    (tmp_path / "old" / "adapter_config.json").write_text(json.dumps(OLD))
    assert command("convert", tmp_path / "old", tmp_path / "made", "--allow-pickle", "-q").code == 0
    assert_same(tmp_path / "made", tmp_path / "new")

    AutoModel.from_config(model.config).save_pretrained(tmp_path / "model")
    ours = AutoAdapterModel.from_pretrained(tmp_path / "model").eval()
    ours.load_adapter(tmp_path / "new", set_active=True)
    theirs, inputs = peer_model(ARCHITECTURES["bert"], tmp_path / "model"), batch(model.config)
    theirs.load_adapter(str(tmp_path / "made"), set_active=True, use_safetensors=True)
    same(hidden(ours, inputs), hidden(theirs, inputs), inputs["attention_mask"].bool())
