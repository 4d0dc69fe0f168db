"""Inputs by the thousand, in child processes: one that dies, hangs or takes too much memory is told with its input."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import resource
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from tests.helpers.fuzz import inputs
from tests.helpers.fuzz.readers import Reader
from tests.helpers.fuzz.verdicts import Bench, Verdict
from tests.helpers.killing import forked

BATCH = 250
"""Inputs for a child."""

SECONDS, MORE_MEMORY, PEAK = 30, 1 << 30, 200 << 20
"""What one input may take: seconds; bytes of address space beyond what the child began with; bytes of memory."""

Make = Callable[[Path, str], inputs.Made]


class Outcome(NamedTuple):
    """What became of one input: its number, what it was, and the verdict."""

    number: int
    what: str
    verdict: Verdict


@dataclass
class Report:
    """What became of a reader's inputs.

    Attributes:
        loaded: how many were loaded.
        refused: how many were refused, by the type of the error.
        defects: those with which something is wrong.
        crashes: how many of these ended a process.
        seconds: how long it took.
        memory: the most that a child had, in bytes.
    """

    loaded: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    defects: list[Outcome] = field(default_factory=list)
    crashes: int = 0
    seconds: float = 0.0
    memory: int = 0

    @property
    def inputs(self) -> int:
        """How many there were."""
        return self.loaded + sum(self.refused.values()) + len(self.defects)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.loaded += outcome.verdict.kind == "loaded"
        self.refused.update([outcome.verdict.detail] if outcome.verdict.kind == "refused" else [])
        self.defects += [outcome] if outcome.verdict.kind == "defect" else []
        self.crashes += outcome.verdict.detail.startswith("the process")


class TooSlow(BaseException):
    """Raised where an input takes too long."""


def _ring(*_: Any) -> None:
    raise TooSlow


def run(
    reader: Reader,
    name: str,
    seed: int,
    count: int,
    tick: Callable[[], object] = lambda: None,
    make: Make = inputs.make,
) -> Report:
    """Give a reader so many inputs, and report.

    Args:
        reader: the reader.
        name: its name, which is part of each input's seed.
        seed: another part of it.
        count: how many.
        tick: is called after each.
        make: makes an input of a folder and a seed.
    """
    report, began = Report(), perf_counter()
    fast = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=fast) as folder:
        bench, number = Bench(reader, Path(folder)), 0
        while number < count:
            for outcome in _batch(bench, name, seed, range(number, min(count, number + BATCH)), report, make):
                report.add(outcome)
                number = outcome.number + 1
                tick()
    report.seconds = perf_counter() - began
    return report


def one(reader: Reader, name: str, seed: int, number: int) -> Outcome:
    """One input again, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return _one(Bench(reader, Path(folder)), name, seed, number, inputs.make)


def _batch(bench: Bench, name: str, seed: int, numbers: range, report: Report, make: Make) -> Iterator[Outcome]:
    """The outcomes of some inputs in one child; if it dies, up to the one that it died of."""
    reading, writing = os.pipe()
    child = forked(lambda: _child(bench, name, seed, numbers, writing, make))
    os.close(writing)
    now = numbers.start
    with closing(os.fdopen(reading, encoding="utf-8")) as lines:
        for line in lines:
            told = json.loads(line)
            report.memory = max(report.memory, told["memory"])
            now = told["number"] + 1
            yield Outcome(told["number"], told["what"], Verdict(*told["verdict"]))
    status = os.waitpid(child, 0)[1]
    if status:
        code = os.waitstatus_to_exitcode(status)
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        yield Outcome(now, "", Verdict("defect", f"the process ended: {how}"))


def _child(bench: Bench, name: str, seed: int, numbers: range, writing: int, make: Make) -> None:
    faulthandler.disable()  # a crash is counted, not printed
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _ring)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MORE_MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    devnull = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):  # what tokenizers' Rust says of odd vocabularies
        os.dup2(devnull, printed)
    with os.fdopen(writing, "w", encoding="utf-8") as out:
        for number in numbers:
            outcome = _one(bench, name, seed, number, make)
            print(json.dumps({**outcome._asdict(), "memory": _peak()}), file=out, flush=True)


def _peak(anew: bool = False) -> int:
    """The most memory that this process has had, in bytes; with `anew`, it is counted from now on."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    said = Path("/proc/self/status").read_text()
    return int(said.partition("VmHWM:")[2].split()[0]) * 1024


def _one(bench: Bench, name: str, seed: int, number: int, make: Make) -> Outcome:
    made = make(bench.fresh(), f"{seed}/{name}/{number}")
    before = _peak(anew=True)
    old = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        verdict = bench.judge(made.neutral)
    except TooSlow:
        verdict = Verdict("defect", f"takes more than {SECONDS} seconds")
    except BaseException as error:
        verdict = Verdict("defect", f"{type(error).__name__}, which is no Exception: {str(error)[:100]}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    grown = _peak() - before
    if grown > PEAK:
        verdict = Verdict("defect", f"takes {grown >> 20} MiB of memory")
    return Outcome(number, made.what, verdict)
