"""DST is whole or as it was, whatever happens, and nothing is left beside it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import adapterzoo
from tests.helpers.converting import Command, command, contents, convert, saved
from tests.helpers.real import ROOT

__all__ = ["command"]  # a fixture
STEPS = {os: ("fsync", "rename", "replace", "mkdir"), tempfile: ("mkdtemp",)}
"""What changes the disk for good, or comes before."""


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("src")
    saved(folder)
    (folder / "vocab.txt").write_text("[PAD]\n")
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, which the first shall replace."""
    folder = tmp_path_factory.mktemp("other")
    saved(folder, "question_answering")
    return folder


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]) -> list[str]:
    """Make the step of that number fail, before it does anything; returns the list of the steps that were tried."""
    tried: list[str] = []

    def failing(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            tried.append(name)
            if len(tried) == number:
                raise error("stopped here")
            return step(*args, **options)

        return run

    for module, names in STEPS.items():
        for name in names:
            monkeypatch.setattr(module, name, failing(name, getattr(module, name)))
    return tried


@pytest.mark.parametrize(
    ("there", "error", "code"),
    [
        pytest.param("nothing and no parent", OSError, 1, marks=pytest.mark.slow),
        pytest.param("an empty folder", KeyboardInterrupt, 130, marks=pytest.mark.slow),
        ("another model", KeyboardInterrupt, 130),
    ],
)
def test_stopped_at_any_step_it_leaves_what_was_there_or_all_that_is_new(
    there: str, error: type[BaseException], code: int, src: Path, other: Path, tmp_path: Path, command: Command
) -> None:
    whole, codes = contents(convert(src, tmp_path / "whole")), set()
    for number in count(1):
        place = tmp_path / str(number)
        place.mkdir()
        target = place / "deep" / "deeper" / "dst" if there.endswith("parent") else place / "dst"
        if there == "an empty folder":
            target.mkdir()
        if there == "another model":
            shutil.copytree(other, target)
        before = contents(place)
        with pytest.MonkeyPatch.context() as patch:
            tried = stop_at(patch, number, error)
            done = command("convert", src, target, "--force", "-q")
        if len(tried) < number:
            break
        codes.add(done.code)
        if done.code == 0 or (target.exists() and contents(target) == whole):
            assert contents(target) == whole
            assert [path.name for path in target.parent.iterdir()] == ["dst"]
        else:
            assert (done.out, len(done.err.splitlines())) == ("", 1)
            assert contents(place) == before, (number, tried)
    assert contents(target) == whole
    assert code in codes <= {code, 0}, "only what does not matter, such as a folder that is there, may fail in silence"
    assert number > 15


def test_everything_is_on_the_disk_before_it_gets_its_name(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()

    def fsync(handle: int, real: Callable[[int], None] = os.fsync) -> None:
        real(handle)
        synced.add((os.fstat(handle).st_dev, os.fstat(handle).st_ino))

    def rename(old: Any, new: Any, real: Callable[..., None] = os.rename) -> None:
        for path in (Path(old), *Path(old).rglob("*")):
            assert (path.stat().st_dev, path.stat().st_ino) in synced, path
        real(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    convert(src, tmp_path / "dst")


def test_a_model_that_is_there_is_replaced_only_by_force(
    src: Path, other: Path, tmp_path: Path, command: Command
) -> None:
    target = convert(other, tmp_path / "dst")
    before = contents(target)
    done = command("convert", src, target)
    assert (done.code, done.out) == (1, "") and "not empty" in done.err and "--force" in done.err
    assert contents(target) == before
    assert command("convert", src, target, "--force").code == 0
    assert contents(target) == contents(convert(src, tmp_path / "new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dst", "new"]


def test_what_is_no_model_is_not_replaced_even_by_force(src: Path, tmp_path: Path, command: Command) -> None:
    target = tmp_path / "dst"
    target.mkdir()
    (target / "thesis.tex").write_text("five years")
    done = command("convert", src, target, "--force")
    assert (done.code, done.out) == (1, "") and "no model" in done.err
    assert contents(target) == {"thesis.tex": b"five years"}


@pytest.mark.parametrize("where", ["src", "src/..", "link"])
def test_what_is_read_or_stood_in_is_not_replaced(
    where: str, src: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = convert(src, tmp_path / "src")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to(place)
    before = contents(tmp_path)
    done = command("convert", place, tmp_path / where, "--force")
    assert (done.code, done.out) == (1, "") and "what is to be converted" in done.err
    monkeypatch.chdir(place)
    done = command("convert", src, tmp_path / where, "--force")
    assert (done.code, done.out) == (1, "") and "the current directory" in done.err
    assert contents(tmp_path) == before


def test_a_file_is_not_replaced(src: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "dst").write_text("a file")
    done = command("convert", src, tmp_path / "dst", "--force")
    assert (done.code, done.out) == (1, "") and "is a file" in done.err
    assert (tmp_path / "dst").read_text() == "a file"


def test_a_link_to_a_model_stays_a_link(src: Path, other: Path, tmp_path: Path) -> None:
    place = convert(other, tmp_path / "place")
    (tmp_path / "dst").symlink_to(place)
    convert(src, tmp_path / "dst", "--force")
    assert (tmp_path / "dst").is_symlink() and contents(place) == contents(convert(src, tmp_path / "new"))


def test_the_new_directory_has_the_usual_permissions(src: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual.txt").touch()
    target = convert(src, tmp_path / "dst")
    for path in (target, *target.rglob("*")):
        like = tmp_path / ("usual" if path.is_dir() else "usual.txt")
        assert path.stat().st_mode == like.stat().st_mode, path


def test_a_dry_run_tells_and_writes_nothing(src: Path, tmp_path: Path, command: Command) -> None:
    done = command("convert", src, tmp_path / "dst", "--dry-run")
    assert (done.code, done.err) == (0, "") and f"would write {tmp_path / 'dst'}" in done.out
    assert "vocab.txt" in done.out and not list(tmp_path.iterdir())


def test_quiet_means_quiet_and_progress_is_for_terminals(
    src: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("convert", src, tmp_path / "a", "-q") == (0, "", "")
    said = command("convert", src, tmp_path / "b")
    assert said.err == "" and "model.safetensors" in said.out
    monkeypatch.setattr("adapterzoo.progress.watched", lambda: True)
    shown = command("convert", src, tmp_path / "c")
    assert "model.safetensors" in shown.err and "%" in shown.err
    assert command("convert", src, tmp_path / "d", "-q") == (0, "", "")


def process(*words: object) -> subprocess.CompletedProcess[str]:
    """Run Python on its own."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )


def test_the_command_works_as_a_process_of_its_own(src: Path, tmp_path: Path) -> None:
    done = process("-m", "weights_conversion", "convert", src, tmp_path / "dst")
    assert (done.returncode, done.stderr) == (0, "") and "wrote" in done.stdout
    assert adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "dst").active_head == "default"


ENDINGS = """
import os, sys, time
from adapterzoo.conversion import output
from weights_conversion.cli import command

def child(*words, ending=None):
    pid = os.fork()
    if pid == 0:
        if ending is not None:
            output.write_json = lambda *_: (os.kill(os.getpid(), ending), time.sleep(60))
        sys.argv[1:] = words
        command()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

src, place, *signals = sys.argv[1:]
codes = [child("convert", src, f"{place}/{number}/dst", ending=int(number)) for number in signals]
print(codes, child("inspect", f"{place}/nowhere"))
"""


def test_ended_from_outside_it_leaves_no_half_directory(src: Path, tmp_path: Path) -> None:
    (tmp_path / "endings.py").write_text(ENDINGS)
    gentle, hard = int(signal.SIGTERM), int(signal.SIGKILL)
    (tmp_path / str(hard)).mkdir()
    done = process(tmp_path / "endings.py", src, tmp_path, gentle, hard)
    assert done.stdout.split("\n")[0] == f"[130, {-hard}] 1", done
    assert done.stderr.splitlines()[0] == "interrupted"
    assert not (tmp_path / str(gentle)).exists()
    # Nobody can tidy up after SIGKILL. What is left does not look like a model.
    assert [path.name[:5] for path in (tmp_path / str(hard)).iterdir()] == [".dst."]
