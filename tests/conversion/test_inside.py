"""What `config.json` tells of adapters, fusions and heads inside a whole model: of older versions, and amiss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo import AutoAdapterModel, Fuse
from adapterzoo.fusion import FUSIONS
from tests.helpers.converting import Command, command, convert
from tests.helpers.spoiling import edit_json
from tests.helpers.tiny import randomise, tiny_model

__all__ = ["command"]  # a fixture
IDS = torch.randint(4, 60, (2, 8), generator=torch.Generator().manual_seed(0))
Entries = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model in the form of version 4, with two adapters, their fusion and a head."""
    model = tiny_model("bert")
    for name in ("a", "b"):
        model.add_adapter(name, "seq_bn")
    model.add_adapter_fusion(["a", "b"])
    model.add_classification_head("c", num_labels=3)
    randomise(model)
    model.save_pretrained(tmp_path / "src")
    return convert(tmp_path / "src", tmp_path / "new", "--to", "adapterhub")


def entries(folder: Path) -> Entries:
    told: Entries = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return told


def as_in_version_1(told: Entries) -> Entries:
    """Each adapter with its type, fusions as texts with one config for all."""
    adapters = {name: ["text_task", found] for name, found in told["adapters"]["adapters"].items()}
    return {
        "adapters": {"adapters": adapters, "config_map": told["adapters"]["config_map"]},
        "adapter_fusion_models": ["a,b"],
        "adapter_fusion": FUSIONS["dynamic"].to_dict(),
    }


def as_in_version_2(told: Entries) -> Entries:
    """Fusions as lists, configs named as presets where they are."""
    names = dict.fromkeys(told["adapters"]["adapters"], "pfeiffer")
    return {"adapters": {"adapters": names}, "adapter_fusion_models": [["a", "b"]], "adapter_fusion": "dynamic"}


def with_configs_in_place(told: Entries) -> Entries:
    """Each adapter's config where others have its name in the map."""
    (config,) = told["adapters"]["config_map"].values()
    return {"adapters": {**told["adapters"], "adapters": dict.fromkeys("ab", config), "config_map": {}}}


def outputs(folder: Path) -> list[torch.Tensor]:
    model = AutoAdapterModel.from_pretrained(folder).eval()
    found = []
    for setup in ("a", "b", Fuse("a", "b")):
        model.set_active_adapters(setup)
        found.append(model(IDS, head="c").logits)
    return found


@pytest.mark.parametrize("older", [as_in_version_1, as_in_version_2, with_configs_in_place])
def test_older_entries_are_the_same_model(folder: Path, older: Callable[[Entries], Entries]) -> None:
    with torch.no_grad():
        new = outputs(folder)
        edit_json(folder / "config.json", **older(entries(folder)))
        for ours, theirs in zip(outputs(folder), new, strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(new[0], new[1]) and not torch.equal(new[0], new[2])


AMISS: dict[str, tuple[Entries, list[str]]] = {
    "adapters": ({"adapters": "a"}, ["adapters is 'a'"]),
    "names": ({"adapters": {"adapters": [["a"]]}}, ["adapters is [['a']]"]),
    "no config": ({"adapters": {"adapters": {"a": "no such", "b": 7}}}, ["'a' has no config", "'b' has no config"]),
    "nothing": ({"adapters": {"adapters": {"a": []}}}, ["the adapter 'a' has no config, but []"]),
    "map": ({"adapters": {"adapters": {"a": "pfeiffer"}, "config_map": 3}}, ["config_map is 3"]),
    "fusions": ({"adapters": {"adapters": {"a": "pfeiffer"}, "fusions": ["a,b"]}}, ["fusions is ['a,b']"]),
    "file": (
        {"adapters": {"adapters": {"a": "pfeiffer"}, "fusions": {"a,b": "/etc/passwd"}}},
        ["the fusion 'a,b' has no config, but '/etc/passwd'"],
    ),
    "old fusions": ({"adapter_fusion_models": {"a": "b"}}, ["adapter_fusion_models is {'a': 'b'}"]),
    "heads": ({"prediction_heads": {"c": 3}}, ["prediction_heads is {'c': 3}"]),
    "all": (
        {"adapters": {"adapters": {"a": None}}, "prediction_heads": [1], "adapter_fusion_models": 2},
        ["the adapter 'a' has no config", "prediction_heads is [1]", "adapter_fusion_models is 2"],
    ),
}


@pytest.mark.parametrize("case", AMISS)
def test_all_that_is_amiss_is_told_at_once(case: str, folder: Path, tmp_path: Path, command: Command) -> None:
    changes, said = AMISS[case]
    edit_json(folder / "config.json", **changes)
    with pytest.raises(ValueError, match="does not tell what is inside") as told:
        AutoAdapterModel.from_pretrained(folder)
    done = command("convert", folder, tmp_path / "dst", "--to", "adapterzoo")
    assert done.code == 1 and not (tmp_path / "dst").exists()
    for words in said:
        assert words in str(told.value) and words in done.err
