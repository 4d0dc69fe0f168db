"""Files with something wrong in them: each is refused with an error of ours, or loaded as what it says.

What must hold is in `tests/helpers/fuzz/verdicts.py`. By hand: `python -m tools.fuzz`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.fuzz import batches, inputs, on_bytes, on_json, on_tensors
from tests.helpers.fuzz.every import EVERY as READERS
from tests.helpers.fuzz.inputs import Made, make
from tests.helpers.fuzz.odd import ASTRAY
from tests.helpers.fuzz.readers import Reader
from tests.helpers.refusing import files_of
from tools import fuzz

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and Path("/proc/self/statm").exists()),
    reason="inputs run in forked children with a limit of memory: on Linux",
)

SOME, MANY = 75, 600
"""Inputs for each reader: of this test, which is quick, and of the slow one."""

SLOW = (
    "model",
    "inspect: model",
    "setup",
    "inspect: setup",
    "embeddings",
    "read: ",
    "convert: pickle",
    "TensorFlow",
    "diff",
)
"""What the names of readers begin with that take long, which get a third of them."""


def check(name: str, count: int, seed: int = 0) -> None:
    count = count // 3 if name.startswith(SLOW) else count
    report = batches.run(READERS[name], name, seed, count)
    found = [f"#{one.number} [{one.what}]: {one.verdict.detail}\n{one.verdict.trace}" for one in report.defects]
    assert not found, f"{len(found)} of {report.inputs}; the first:\n{found[0]}"
    assert report.inputs == count
    assert report.loaded > count / 10 and sum(report.refused.values()) > count / 10, report


@pytest.mark.parametrize("name", READERS)
def test_some_inputs(name):
    check(name, SOME)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_inputs(name):
    check(name, MANY, seed=3)


def test_an_input_is_the_same_each_time(tmp_path):
    contents = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        folder = tmp_path / str(number) / "files"
        torch.manual_seed(0)
        READERS["adapter, LoRA and head"].make(folder)
        what = [make(folder, f"0/{seed}").what for seed in range(12)]
        contents.append((what, {k: v for k, v in files_of(folder).items() if not k.endswith(".bin")}))
    assert contents[0] == contents[1]


# ---------------------------------------------------------------------------------------------- what it finds


class Planted:
    """A reader of one file of tensors, with a defect."""

    def make(self, folder: Path) -> None:
        save_file({"a": torch.arange(6.0)}, folder / "x.safetensors")

    def load(self, host: Any, folder: Path) -> Any:
        return {"a": load_file(folder / "x.safetensors")["a"]}

    def save(self, host: Any, found: Any, folder: Path) -> None:
        folder.mkdir()
        save_file(found, folder / "x.safetensors")


class Silent(Planted):
    """Gives back what the file does not hold."""

    spoilt = False

    def load(self, host: Any, folder: Path) -> Any:
        self.spoilt |= folder.name == "bad"
        return {"a": super().load(host, folder)["a"] * (not self.spoilt)}


class Forgetful(Planted):
    """Saves something else than it has, but for the first time."""

    times = 0

    def save(self, host: Any, found: Any, folder: Path) -> None:
        self.times += 1
        super().save(host, {"a": found["a"][: 6 if self.times == 1 else 5]}, folder)


class Dying(Planted):
    """Takes the process with it."""

    def load(self, host: Any, folder: Path) -> Any:
        if folder.name == "bad":
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().load(host, folder)


class Hungry(Planted):
    """Takes memory by what the file says."""

    def load(self, host: Any, folder: Path) -> Any:
        return {"a": super().load(host, folder)["a"], **({"b": torch.ones(1 << 26)} if folder.name == "bad" else {})}


class Greedy(Planted):
    """Takes more memory than it may."""

    def load(self, host: Any, folder: Path) -> Any:
        return {"a": torch.zeros(1 << 40)} if folder.name == "bad" else super().load(host, folder)


class Hanging(Planted):
    """Takes its time."""

    def load(self, host: Any, folder: Path) -> Any:
        while folder.name == "bad":
            time.sleep(0.01)
        return super().load(host, folder)


class Surprised(Planted):
    """Fails without having meant to."""

    def load(self, host: Any, folder: Path) -> Any:
        return {"a": super().load(host, folder)["b" if folder.name == "bad" else "a"]}


def nothing(folder: Path, seed: str) -> Made:
    return Made("nothing")


PLANTED = {
    Silent: "or has other values now",
    Forgetful: "not the same after saving",
    Dying: "the process ended: SIGSEGV",
    Hungry: "MiB of memory",
    Greedy: "RuntimeError at",
    Hanging: "takes more than",
    Surprised: "KeyError at",
}


@pytest.mark.parametrize("kind", PLANTED, ids=[kind.__name__ for kind in PLANTED])
def test_a_planted_defect_is_found(kind, monkeypatch):
    monkeypatch.setattr(batches, "SECONDS", 0.5 if kind is Hanging else 20)
    planted = kind()
    reader = Reader(planted.make, lambda: None, planted.load, planted.save, of_host=False)
    report = batches.run(reader, "planted", 0, 3, make=nothing)
    assert [PLANTED[kind] in one.verdict.detail for one in report.defects] == [True] * 3, report
    assert report.crashes == (3 if kind is Dying else 0)


def test_what_means_the_same_must_be_the_same():
    class Unsteady(Planted):
        """Takes what comes first."""

        def load(self, host: Any, folder: Path) -> Any:
            return {"a": super().load(host, folder)["a"], "size": len((folder / "x.safetensors").read_bytes())}

    def spaced(folder: Path, seed: str) -> Made:
        said, rest = on_tensors.split((folder / "x.safetensors").read_bytes())
        (folder / "x.safetensors").write_bytes(on_tensors.join(json.dumps(said) + " " * 800, rest))
        return Made("spaces", neutral=True)

    planted = Unsteady()
    reader = Reader(planted.make, lambda: None, planted.load, None, of_host=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.helpers.fuzz.verdicts.Bench._survives", lambda *given: None)
        report = batches.run(reader, "planted", 0, 1, make=spaced)
    assert "loaded as something else: /size" in report.defects[0].verdict.detail


def test_a_host_that_is_changed_though_the_file_is_refused_is_found():
    def load(host: Any, folder: Path) -> Any:
        name = host.load_adapter(folder)
        return host.load_adapter(folder, load_as="") if folder.name == "bad" else name

    reader = READERS["adapter, union"]._replace(load=load)
    report = batches.run(reader, "planted", 0, 2, make=nothing)
    assert all("refused, but changed: " in one.verdict.detail for one in report.defects) and len(report.defects) == 2


def test_a_rule_that_is_taken_away_is_missed(monkeypatch):
    """Without the bound of sizes, an adapter's file has PyTorch count what it cannot."""

    def huge(folder: Path, seed: str) -> Made:
        path = folder / "adapter_config.json"
        path.write_text(path.read_text().replace('"r": 2', f'"r": {1 << 60}'))
        return Made("a huge rank")

    name = "adapter, LoRA and head"
    report = batches.run(READERS[name], name, 0, 1, make=huge)
    assert report.refused == {"ValueError": 1}
    monkeypatch.setattr("adapterzoo.core.fields.too_large", lambda value, rule: False)
    report = batches.run(READERS[name], name, 0, 1, make=huge)
    assert len(report.defects) == 1


def test_every_kind_of_change_is_made(tmp_path):
    made = []
    for name in ("adapter, LoRA and head", "model, pickled"):
        READERS[name].make(tmp_path / name)
        for number in range(500):
            shutil.copytree(tmp_path / name, tmp_path / "copy")
            made.append(inputs.make(tmp_path / "copy", f"{name} {number}"))
            shutil.rmtree(tmp_path / "copy")
    words = {word.strip(";") for one in made for word in one.what.split()}
    changes = (*on_bytes.ON_BYTES, *on_bytes.ON_FOLDERS, *on_tensors.ON_TENSORS)
    assert {change.__name__ for change in changes} | {"json", "header", "strange"} <= words
    assert 20 < sum(one.neutral for one in made) < 100


def test_names_in_an_index_lead_everywhere():
    """Upwards, from the root, to devices, through the folder itself, with a NUL: of shards and of tensors."""
    files, names = set(), set()
    for number in range(400):
        told = on_json.lead_astray({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}, Random(number))
        files |= {str(one) for one in told.get("weight_map", {}).values()}
        names |= set(told.get("weight_map", {}))
    assert set(ASTRAY) <= files and set(ASTRAY) <= names
    assert {f"{path}/x.safetensors" for path in ASTRAY} | {"../y.safetensors", "x.safetensors/../x"} <= files
    assert {".." in path for path in ASTRAY} == {"\0" in path for path in ASTRAY} == {True, False}
    assert {"/etc/passwd", "/dev/zero", "~"} <= set(ASTRAY)


def test_a_report_keeps_what_it_does_not_know_anew(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{fuzz.MARK}\n")
    first, second = list(READERS)[:2]
    fuzz.report(page, second, batches.Report(loaded=7))
    fuzz.report(page, first, batches.Report(loaded=1, memory=5 << 20))
    fuzz.report(page, second, batches.Report(loaded=8))
    text = page.read_text()
    assert text.startswith("# Title\n\n") and text.count(fuzz.MARK) == 1
    assert text.splitlines()[-2:] == [f"| {first} | 1 | 1 | 0 | 0 | 5 |", f"| {second} | 8 | 8 | 0 | 0 | 0 |"]
