"""Timing two things in turns, for the machine's speed drifts: A B, B A, A B, …; each pair gives a ratio."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

Task = Callable[[], object]


class Times(NamedTuple):
    """Times of two things, pair by pair, in seconds a call (or whatever a process reported)."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours / theirs for each pair."""
        return tuple(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    def as_fields(self, scale: float = 1e3, unit: str = "ms") -> dict[str, Any]:
        """What a Result is made of."""
        ours, theirs = statistics.median(self.ours) * scale, statistics.median(self.theirs) * scale
        return {"ours": ours, "theirs": theirs, "ratios": self.ratios, "unit": unit}


def seconds(task: Task, repeat: int = 1, device: torch.device | None = None) -> float:
    """How long one call takes, of so many in a row."""
    wait = torch.cuda.synchronize if device is not None and device.type == "cuda" else None
    if wait:
        wait()
    start = time.perf_counter()
    for _ in range(repeat):
        task()
    if wait:
        wait()
    return (time.perf_counter() - start) / repeat


def in_turns(
    ours: Task,
    theirs: Task,
    pairs: int = 7,
    *,
    least: float = 0.1,
    warmup: int = 2,
    device: torch.device | None = None,
) -> Times:
    """Time two things in turns, in one process.

    Args:
        ours, theirs: the things.
        pairs: how many pairs of turns.
        least: how long a turn should take at least, in seconds: short calls are repeated within it.
        warmup: turns of each before the clock counts.
        device: where they run.
    """
    for _ in range(warmup):
        ours()
        theirs()
    slower = max(seconds(ours, device=device), seconds(theirs, device=device))
    repeat = max(1, round(least / max(slower, 1e-6)))
    times = Times([], [])
    for pair in tqdm(range(pairs), desc="pairs", leave=False, disable=None):
        turns = [(ours, times.ours), (theirs, times.theirs)]
        for task, kept in turns if pair % 2 == 0 else turns[::-1]:
            kept.append(seconds(task, repeat, device))
    return times


def several_in_turns(
    tasks: dict[str, Task], pairs: int = 7, *, least: float = 0.1, warmup: int = 2, device: torch.device | None = None
) -> dict[str, list[float]]:
    """Time several things in turns: the times of each, round by round."""
    for _ in range(warmup):
        for task in tasks.values():
            task()
    repeats = {name: max(1, round(least / max(seconds(task, device=device), 1e-6))) for name, task in tasks.items()}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for pair in tqdm(range(pairs), desc="rounds", leave=False, disable=None):
        for name in tasks if pair % 2 == 0 else reversed(tasks):
            times[name].append(seconds(tasks[name], repeats[name], device))
    return times


def processes_in_turns(
    ours: Sequence[str], theirs: Sequence[str], pairs: int = 7, *, warmup: int = 1, measure: str | None = None
) -> Times:
    """Time two commands in turns, each a process of its own.

    Args:
        ours, theirs: the commands.
        pairs: how many pairs.
        warmup: runs of each before the clock counts, to fill caches.
        measure: the entry of the JSON object on the last line of their output that is compared; the process's whole
            time if None.
    """
    times = Times([], [])
    for pair in tqdm(range(-warmup, pairs), desc="pairs of processes", leave=False, disable=None):
        turns = [(ours, times.ours), (theirs, times.theirs)]
        for command, kept in turns if pair % 2 == 0 else turns[::-1]:
            value = run_process(command, measure)
            if pair >= 0:
                kept.append(value)
    return times


def run_process(command: Sequence[str], measure: str | None = None) -> float:
    """One run of a command: its time, or a number that it prints."""
    start = time.perf_counter()
    output = _output(command)
    took = time.perf_counter() - start
    return took if measure is None else float(json.loads(output.splitlines()[-1])[measure])


def printed(command: Sequence[str]) -> dict[str, Any]:
    """One run of a command: the JSON object on the last line of its output."""
    found: dict[str, Any] = json.loads(_output(command).splitlines()[-1])
    return found


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """The environment of a measured process: nothing of the Hub is asked, and all that is imported is compiled once."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = str(Path(tempfile.gettempdir()) / "adapterzoo-benchmarks" / "bytecode")
    return {**kept, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPYCACHEPREFIX": compiled}


def python(*arguments: str) -> list[str]:
    """A command of this Python."""
    return [sys.executable, *arguments]
