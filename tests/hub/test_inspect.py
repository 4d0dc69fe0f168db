"""`inspect` tells the same of a repository on the Hub as of a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapterzoo import AutoAdapterModel
from tests.helpers.hub import Hub
from tests.helpers.hub_repos import Repository
from tests.hub.calls import inspect


def apart(facts: Any) -> Any:
    """What was found, but for where."""
    if isinstance(facts, dict):
        return {key: apart(value) for key, value in facts.items() if key not in ("source", "not_loaded")}
    return [apart(one) for one in facts] if isinstance(facts, list) else facts


@pytest.fixture(scope="module")
def folders(folder: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model, and its parts saved alone, which the server has, too."""
    place = tmp_path_factory.mktemp("files")
    model = AutoAdapterModel.from_pretrained(folder)
    model.save_adapter(place / "adapter", "mrpc")
    model.save_adapter_fusion(place / "fusion", "en,mrpc")
    model.save_head(place / "head", "other")
    model.save_adapter_setup(place / "setup", "mrpc", head_setup="other")
    found = {"model": folder, **{path.name: path for path in place.iterdir()}}
    for name, path in found.items():
        hub.repositories[f"org/{name}"] = Repository()
        hub.repositories[f"org/{name}"].add_folder("main", path)
    hub.repositories["org/model"].add("main", {"vocab.txt": b"[PAD]"})
    return found


def test_the_same_is_told_of_a_repository(folders: dict[str, Path], hub: Hub, ask: Any) -> None:
    told = ask({name: {"do": "inspect", "source": f"org/{name}"} for name in folders})
    for name, folder in folders.items():
        result = told[name]["result"]
        assert result["code"] == 0 and result["facts"]["source"] == f"org/{name}"
        assert apart(result["facts"]) == apart(inspect(str(folder))["facts"]), name
    assert not any("vocab.txt" in str(one) for one in hub.asked)
