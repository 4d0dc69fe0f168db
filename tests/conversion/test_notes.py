"""Our words in PEFT's files: they come back where they say what the file says, and are passed over elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch

from adapterzoo import AutoModelForSequenceClassification, FileError, LoRAConfig, formats
from adapterzoo.formats import peft
from adapterzoo.store import read_notes
from tests.helpers.adapting import CONFIGS, add_random, same_bits, tensors_of
from tests.helpers.heads import add_head
from tests.helpers.spoiling import edit_json
from tests.helpers.tiny import tiny_model

CONFIG, WEIGHTS = peft.CONFIG, peft.WEIGHTS[0]
LABELS: dict[str, Any] = {"num_labels": 3, "id2label": {0: "bad", 1: "good", 2: "fair"}}
OWN = LoRAConfig(r=3, alpha=6, sites="*.1.mlp.*", rank_pattern={"mlp.up": 2}, init_weights="pissa", use_rslora=True)


@pytest.fixture
def model() -> Any:
    """A model with an adapter and a head that PEFT has no words for, and whose weights it has."""
    made = tiny_model("bert")
    add_random(made, "a", OWN)
    add_head(made, "multilabel_classification", "a", layers=1, use_pooler=True, **LABELS)
    return made


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    """It, in PEFT's format."""
    model.save_adapter(tmp_path / "a", "a", to="peft")
    return tmp_path / "a"


def note(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(read_notes(folder / WEIGHTS)[peft.NOTE])
    return said


def give_note(folder: Path, text: str | None) -> None:
    """Write the tensors anew, with another note or none."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    safetensors.torch.save_file(tensors, folder / WEIGHTS, {} if text is None else {peft.NOTE: text})


def test_a_file_that_is_read_and_written_keeps_its_note(folder: Path, tmp_path: Path) -> None:
    formats.write(formats.read(folder), tmp_path / "b")
    assert note(tmp_path / "b") == note(folder) != {}
    files = [sorted(path.name for path in one.iterdir()) for one in (folder, tmp_path / "b")]
    assert files[0] == files[1]
    assert [(folder / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files[0]] == [True] * 2


def test_configs_and_heads_come_back_as_they_were(model: Any, folder: Path) -> None:
    model.load_adapter(folder, load_as="b")
    assert model.adapters["b"].config == OWN
    assert same_bits(tensors_of(model.adapters["b"]), tensors_of(model.adapters["a"]))
    assert model.heads["b"].config == model.heads["a"].config
    assert same_bits(tensors_of(model.heads["b"]), tensors_of(model.heads["a"]))


def test_without_a_note_pefts_words_are_read(model: Any, folder: Path) -> None:
    give_note(folder, None)
    model.load_adapter(folder, load_as="b")
    read = model.adapters["b"].config
    assert (read.r, read.init_weights, read.leave_out) == (6, "lora", (0,))
    assert model.heads["b"].config["head_type"] == "classification"
    assert list(model.heads["b"].config["label2id"]) == ["LABEL_0", "LABEL_1", "LABEL_2"]


CHANGES: list[dict[str, Any]] = [
    {"r": 4, "rank_pattern": {"output.dense": 6}},
    {"lora_alpha": 5},
    {"lora_dropout": 0.5},
    {"use_rslora": False},
    {"layers_to_transform": [1]},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_what_was_changed_in_pefts_words_counts(changes: dict[str, Any], model: Any, folder: Path) -> None:
    edit_json(folder / CONFIG, **changes)
    model.load_adapter(folder, load_as="b")
    config = model.adapters["b"].config
    ours = {"r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout", "use_rslora": "use_rslora"}
    assert all(config[ours[key]] == value for key, value in changes.items() if key in ours)
    assert config.init_weights == ("pissa" if "layers_to_transform" in changes else "lora")


ODD = [
    "",
    "[",
    "[]",
    "3",
    "[" * 200 + "]" * 200,
    '{"config": 3, "head": 4}',
    '{"config": {}, "head": {}}',
    '{"config": {"architecture": ["lora"]}, "head": {"head_type": ["tagging"]}}',
    '{"config": {"architecture": "lora", "r": 1e999}, "head": {"head_type": "classification", "num_labels": 1e999}}',
    '{"config": {"architecture": "lora", "r": "6"}, "head": {"head_type": "classification", "label2id": {"a": "b"}}}',
    '{"config": {"architecture": "nonsense"}, "head": {"head_type": "nonsense"}}',
    '{"config": {"architecture": "prefix_tuning"}, "head": {"head_type": "tagging", "num_labels": 3}}',
    '{"config": {"architecture": "lora", "r": 6, "surprise": 1}, "head": {"head_type": "classification", "layers": 7}}',
    '{"head": {"head_type": "multilabel_classification", "num_labels": 4, "label2id": {"a": 0, "b": 1}}}',
    '{"head": {"head_type": "classification", "label2id": {"\\ud800": 0, "b": 1, "c": 2}}}',
]


@pytest.mark.parametrize("text", ODD)
def test_notes_that_say_nothing_of_the_file_are_passed_over(text: str, model: Any, folder: Path) -> None:
    give_note(folder, None)
    model.load_adapter(folder, load_as="plain")
    give_note(folder, text)
    model.load_adapter(folder, load_as="b")
    for kept in (model.adapters, model.heads):
        assert kept["b"].config == kept["plain"].config
        assert same_bits(tensors_of(kept["b"]), tensors_of(kept["plain"]))


def test_names_of_labels_that_are_given_count(model: Any, folder: Path) -> None:
    names = {0: "x", 1: "y", 2: "z"}
    model.load_adapter(folder, load_as="b", id2label=names)
    assert model.heads["b"].config == {**model.heads["a"].config, "label2id": {"x": 0, "y": 1, "z": 2}}


def test_names_of_labels_come_to_fixed_heads(model: Any, folder: Path, tmp_path: Path) -> None:
    model.active_head = "a"
    model.to_static().save_pretrained(tmp_path / "base")
    fixed = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    fixed.load_adapter(folder, load_as="b")
    assert fixed.config.id2label == {0: "bad", 1: "good", 2: "fair"}


@pytest.mark.parametrize("kind", ["vera", "ia3", "prefix_tuning", "ln_tuning"])
def test_what_is_not_in_the_file_is_not_in_the_note(kind: str, tmp_path: Path) -> None:
    """α is in VeRA's vectors, an MLP in the prefixes that it made: read again, neither acts a second time."""
    model = tiny_model("bert")
    add_random(model, "a", CONFIGS[kind])
    model.save_adapter(tmp_path, "a", to="peft")
    model.load_adapter(tmp_path, load_as="b")
    config = model.adapters["b"].config
    assert note(tmp_path)["config"] == config.to_dict()
    assert config.get("alpha") in (None, config.get("r"))
    assert config.get("flat") in (None, True)


def test_a_file_that_is_not_whole_has_no_notes(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(FileError, match="is no whole safetensors file"):
        read_notes(tmp_path / "a.safetensors")
    assert read_notes(tmp_path / "a.bin") == {}
