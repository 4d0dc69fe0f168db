"""Saving that is killed, without a moment to tidy up: what is there is the old, all of it, or the new, all of it."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from adapterzoo import AutoAdapterModel, journal
from tests.helpers.adapting import add_random
from tests.helpers.converting import convert
from tests.helpers.killing import killed_after, killed_before_step, strays
from tests.helpers.tiny import NAMES, randomise, tiny_model

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are made by fork, which this system lacks")


def version(number: int) -> Any:
    """One of two models that differ in every file that they write, config.json among them."""
    model = tiny_model(NAMES[0], note=f"version {number}")
    for name, rank in (("en", 2), ("mrpc", 3)):
        add_random(model, name, f"lora[r={rank + number}]")
    model.add_classification_head("mrpc", num_labels=2 + number)
    randomise(model.heads)
    model.set_active_adapters("mrpc")
    return model


def content(folder: Path) -> dict[str, Any]:
    """All that a saved model is, as it is read."""
    model = AutoAdapterModel.from_pretrained(folder)
    tensors = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    configs = {name: adapter.config for name, adapter in model.adapters.items()}
    return {"tensors": tensors, "config": model.config.to_dict(), "adapters": configs}


def adapter_content(folder: Path) -> dict[str, Any]:
    """All that a saved adapter and its head are."""
    model = tiny_model(NAMES[0])
    model.load_adapter(folder)
    tensors = {**model.adapters.state_dict(), **model.heads.state_dict()}
    found = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return {"tensors": found, "config": model.adapters.get("mrpc"), "head": model.heads["mrpc"].config}


class Case(NamedTuple):
    """A way to write one of two versions over the other.

    Attributes:
        write: writes version 0 or 1 to a folder.
        read: what is there, as it is read.
    """

    write: Callable[[int, Path], object]
    read: Callable[[Path], dict[str, Any]]


CASES = ["save_pretrained", "save_adapter", "convert"]


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    torch.manual_seed(0)
    models = [version(number) for number in range(2)]
    sources = [tmp_path / f"source{number}" for number in range(2)]
    for model, source in zip(models, sources, strict=True):
        model.save_pretrained(source)
    return {
        "save_pretrained": Case(lambda number, folder: models[number].save_pretrained(folder), content),
        "save_adapter": Case(lambda number, folder: models[number].save_adapter(folder, "mrpc"), adapter_content),
        "convert": Case(lambda number, folder: convert(sources[number], folder, "--force"), content),
    }[request.param]


@pytest.fixture
def versions(case, tmp_path):
    """What each version is when nobody is killed."""
    found = []
    for number in range(2):
        case.write(number, tmp_path / f"plain{number}")
        found.append(case.read(tmp_path / f"plain{number}"))
    for key in found[0]:
        assert found[0][key] != found[1][key]
    return found


def check(case: Case, folder: Path, versions: list[dict[str, Any]]) -> int:
    """Tell which version a folder holds, which must be one of the two and no mixture."""
    found = case.read(folder)
    assert found in versions, {key: [one[key] == found[key] for one in versions] for key in found}
    return versions.index(found)


def killed_at_every_step(case: Case, folder: Path, versions: list[dict[str, Any]]) -> list[int]:
    """Write version 1 over version 0, killed before each step in turn; return the versions that were there then."""
    seen: list[int] = []
    while True:
        case.write(0, folder)
        assert check(case, folder, versions) == 0
        if not killed_before_step(lambda: case.write(1, folder), len(seen) + 1):
            assert check(case, folder, versions) == 1
            return seen
        seen.append(check(case, folder, versions))


def test_killed_before_any_step_it_is_the_one_or_the_other(case, versions, tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    seen = killed_at_every_step(case, folder, versions)
    assert len(seen) > 8
    assert seen == sorted(seen) and set(seen) == {0, 1}  # from some step on it is the new one, and stays it


def test_a_new_folder_is_not_there_or_whole(case, versions, tmp_path):
    folder, seen = tmp_path / "new" / "saved", []
    while killed_before_step(lambda: case.write(1, folder), len(seen) + 1):
        try:
            seen.append(check(case, folder, [{}, versions[1]]))
        except FileNotFoundError:
            seen.append(0)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    assert seen == sorted(seen) and set(seen) == {0, 1}


@pytest.mark.parametrize("moments", [pytest.param(8, id="some"), pytest.param(67, id="many", marks=pytest.mark.slow)])
def test_killed_at_a_random_moment_it_is_the_one_or_the_other(case, versions, tmp_path, moments):
    folder = tmp_path / "saved"
    began = time.perf_counter()
    case.write(0, folder)
    one = time.perf_counter() - began
    chance, seen = random.Random(0), set()

    def both() -> None:
        case.write(1, folder)
        case.write(0, folder)

    for _ in range(moments):
        killed_after(both, chance.uniform(0, 2.5 * one))
        seen.add(check(case, folder, versions))
    assert seen == {0, 1} or moments < 20


def test_without_a_journal_it_would_be_a_mixture(monkeypatch, tmp_path):
    models = [version(number) for number in range(2)]
    case = Case(lambda number, folder: models[number].save_adapter(folder, "mrpc"), adapter_content)
    for number in range(2):
        case.write(number, tmp_path / f"plain{number}")
    versions = [case.read(tmp_path / f"plain{number}") for number in range(2)]
    monkeypatch.setattr(journal, "begin", lambda root, temporaries: None)
    with pytest.raises((AssertionError, ValueError)):
        killed_at_every_step(case, tmp_path / "saved", versions)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, two folders cannot change places in one step")
def test_what_is_left_behind_harms_nobody_and_goes_in_the_end(case, versions, tmp_path, monkeypatch):
    folder = tmp_path / "saved"
    case.write(0, folder)
    (folder / "notes.txt").write_text("mine")
    assert killed_before_step(lambda: case.write(1, folder), 6)
    assert strays(folder)
    assert check(case, folder, versions) == 0
    for number in (1, 0, 1):
        case.write(number, folder)
        assert check(case, folder, versions) == number
    left = [path for path in strays(folder) if path.parent != tmp_path]
    monkeypatch.setattr(journal, "ABANDONED", -1)
    case.write(0, folder)
    assert not [path for path in strays(folder) if path.parent != tmp_path], left
    assert check(case, folder, versions) == 0
