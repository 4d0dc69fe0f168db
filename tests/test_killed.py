"""Saving that is killed, without a moment to tidy up: what is there is the old, all of it, or the new, all of it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from adapterzoo import journal
from tests.helpers.killing import killed_after, killed_before_step, strays
from tests.helpers.real import ROOT
from tests.helpers.versions import WAYS, Case, case_of, check, versions_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are made by fork, which this system lacks")


SLOW = pytest.mark.slow


@pytest.fixture(params=WAYS)
def case(request, tmp_path):
    return case_of(request.param, tmp_path)


@pytest.fixture
def versions(case, tmp_path):
    """What each version is when nobody is killed."""
    return versions_of(case, tmp_path)


def killed_at_every_step(
    case: Case, folder: Path, versions: list[dict[str, Any]], start: int = 1, stride: int = 1
) -> list[int]:
    """Write version 1 over version 0, killed before each step in turn; return the versions that were there then."""
    seen: list[int] = []
    while True:
        case.write(0, folder)
        assert check(case, folder, versions) == 0
        if not killed_before_step(lambda: case.write(1, folder), start + stride * len(seen)):
            assert check(case, folder, versions) == 1
            return seen
        seen.append(check(case, folder, versions))


STEPS = pytest.mark.parametrize("stride", [pytest.param(15, id="some"), pytest.param(1, id="every", marks=SLOW)])


@STEPS
def test_killed_before_any_step_it_is_the_one_or_the_other(case, versions, tmp_path, stride):
    folder = tmp_path / "saved"
    folder.mkdir()
    seen = killed_at_every_step(case, folder, versions, 2, stride)
    assert len(seen) > (8 if stride == 1 else 1)
    assert seen == sorted(seen)  # from some step on it is the new one, and stays it
    assert set(seen) == {0, 1} or stride > 1


@STEPS
def test_a_new_folder_is_not_there_or_whole(case, versions, tmp_path, stride):
    folder, seen = tmp_path / "new" / "saved", []
    while killed_before_step(lambda: case.write(1, folder), 1 + stride * len(seen)):
        try:
            seen.append(check(case, folder, [{}, versions[1]]))
        except FileNotFoundError:
            seen.append(0)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    assert seen == sorted(seen) and (set(seen) == {0, 1} or stride > 1)


@pytest.mark.parametrize("moments", [pytest.param(4, id="some"), pytest.param(67, id="many", marks=SLOW)])
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


def command(source: Path, target: Path) -> list[str]:
    return [sys.executable, "-m", "weights_conversion", "convert", str(source), str(target), "--force", "-q"]


@pytest.mark.parametrize("moments", [pytest.param(2, id="some"), pytest.param(200, id="many", marks=SLOW)])
def test_the_command_is_killed_at_a_random_moment(tmp_path, moments):
    case, folder = case_of("convert", tmp_path), tmp_path / "saved"
    versions = versions_of(case, tmp_path)
    began = time.perf_counter()
    subprocess.run(command(tmp_path / "source0", folder), cwd=ROOT, check=True)
    one = time.perf_counter() - began
    chance, there = random.Random(0), [0]
    for _ in range(moments):
        child = subprocess.Popen(command(tmp_path / f"source{1 - there[-1]}", folder), cwd=ROOT)
        time.sleep(chance.uniform(0.3, 1.1) * one)
        child.kill()
        assert child.wait() in (0, -signal.SIGKILL)
        there.append(check(case, folder, versions))
    assert set(there) == {0, 1} or moments < 20


def test_without_a_journal_it_would_be_a_mixture(monkeypatch, tmp_path):
    case = case_of("save_adapter", tmp_path)
    versions = versions_of(case, tmp_path)
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
    left = strays(folder)
    monkeypatch.setattr(journal, "ABANDONED", -1)
    case.write(0, folder)
    assert not strays(folder), left
    assert check(case, folder, versions) == 0
