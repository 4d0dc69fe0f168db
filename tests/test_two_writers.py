"""Two processes that save to the same place at the same moment: what is there is of the one or the other, whole."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from adapterzoo import journal, locking, writing
from adapterzoo.locking import held
from tests.helpers.killing import forked, killed_before_step, strays
from tests.helpers.refusing import refuses
from tests.helpers.versions import WAYS, Case, case_of, check, versions_of

pytestmark = pytest.mark.skipif(
    locking.fcntl is None or not hasattr(os, "fork"), reason="this system has no locks of folders, or no fork"
)

SLOWLY, MEET = 0.002, 0.2
"""Seconds that each rename takes longer than it does, at most, and that a writer waits for the other to come as far."""


def at_once(meeting: Path, *actions: Callable[[], object]) -> list[int]:
    """Run actions in a child each; return how each ended. They wait for each other before their first rename.

    Args:
        meeting: an empty folder, in which they tell each other.
        actions: what to run.
    """

    def within(action: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            begin, rename, chance = journal.begin, journal.rename, random.Random(os.getpid())

            def met(root: Path, temporaries: Iterable[Path]) -> None:
                (meeting / str(os.getpid())).touch()
                until = time.monotonic() + MEET
                while len(list(meeting.iterdir())) < len(actions) and time.monotonic() < until:
                    time.sleep(0.001)
                begin(root, temporaries)

            def slower(temporary: Path, path: Path) -> None:
                time.sleep(chance.uniform(0, SLOWLY))
                rename(temporary, path)

            journal.begin, journal.rename = met, slower
            action()

        return run

    children = [forked(within(action)) for action in actions]
    ends = [os.waitpid(child, 0)[1] for child in children]
    for path in meeting.iterdir():
        path.unlink()
    return ends


def both(case: Case, folder: Path, first: int = 0) -> list[int]:
    """Write both versions at once; one is begun first, by the time that it takes to start another process."""
    meeting = folder.with_name("meeting")
    meeting.mkdir(exist_ok=True)
    return at_once(meeting, lambda: case.write(first, folder), lambda: case.write(1 - first, folder))


def seen(case: Case, folder: Path, versions: list[dict[str, object]], times: int) -> set[int]:
    """Which versions were there after two had written at once."""
    found = set()
    for number in range(times):
        assert both(case, folder, number % 2) == [0, 0]
        found.add(check(case, folder, versions))
    assert not [path for path in strays(folder) if path.parent != folder.parent]
    return found


SOME = [pytest.param(way, 4, id=way) for way in ("save_pretrained", "write, sharded")]
MANY = [pytest.param(way, 50, id=f"{way}, often", marks=pytest.mark.slow) for way in WAYS]


@pytest.mark.parametrize(("way", "times"), SOME + MANY)
def test_it_is_the_one_or_the_other(way, times, tmp_path):
    case = case_of(way, tmp_path)
    versions = versions_of(case, tmp_path)
    case.write(0, tmp_path / "saved")
    found = seen(case, tmp_path / "saved", versions, times)
    assert times < 20 or found == {0, 1}


def test_a_folder_is_held_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE", 0.05)
    other = tmp_path / "other"
    other.mkdir()
    with held([tmp_path, tmp_path, other / ".."]):
        with refuses(TimeoutError, f"has been saving to {tmp_path}"):
            writing.write_whole(tmp_path / "a", lambda place: Path(place).write_text("new"))
        writing.write_whole(other / "a", lambda place: Path(place).write_text("new"))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    writing.write_whole(tmp_path / "a", lambda place: Path(place).write_text("new"))


def test_who_is_killed_holds_nothing(tmp_path):
    case = case_of("save_adapter", tmp_path)
    versions, folder = versions_of(case, tmp_path), tmp_path / "saved"
    case.write(0, folder)
    number = 1
    while killed_before_step(lambda: case.write(1, folder), number):
        case.write(1, folder)
        assert check(case, folder, versions) == 1
        number += 4
    assert number > 8


def test_without_locks_it_would_be_a_mixture(monkeypatch, tmp_path):
    case = case_of("save_pretrained", tmp_path)
    versions = versions_of(case, tmp_path)
    monkeypatch.setattr(locking, "fcntl", None)
    with pytest.raises((AssertionError, ValueError, OSError)):
        for _ in range(10):
            assert both(case, tmp_path / "saved") == [0, 0]
            check(case, tmp_path / "saved", versions)
