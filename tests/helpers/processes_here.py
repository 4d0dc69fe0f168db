"""What the commands have other processes do, done in this one, which has imported it all: each other takes seconds.

Processes that read PyTorch's files, and those that ask a peer. `test_sources.py`, `test_commands.py` and others have
tests with real ones.
"""

from __future__ import annotations

import contextlib
import io
import resource
import runpy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from adapterzoo.formats import unpickling

READER, PEERS = "adapterzoo.formats.unpickling", "weights_conversion.peers."
_really = subprocess.run


def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`, but that `python -m module argument …` of these modules runs here."""
    module = words.index("-m") + 1 if "-m" in words else 0
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if words[module] == READER:
            code = _read(words[module + 1 :])
        elif words[module].startswith(PEERS):
            code = _ask(words[module:])
        else:
            return _really(words, **options)
    told = (out.getvalue(), err.getvalue())
    return subprocess.CompletedProcess(words, code, *(told if options.get("text") else (one.encode() for one in told)))


def _read(arguments: list[str]) -> int:
    with _bounds_for_now(), _same_safe_globals():
        return unpickling.main(arguments)


@contextlib.contextmanager
def _bounds_for_now() -> Iterator[None]:
    """Within, this process may set itself bounds, which go afterwards."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_CORE)
    kept, setrlimit = {kind: resource.getrlimit(kind) for kind in kinds}, resource.setrlimit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resource, "setrlimit", lambda kind, bounds: setrlimit(kind, (bounds[0], kept[kind][1])))
        try:
            yield
        finally:
            for kind, bounds in kept.items():
                setrlimit(kind, bounds)


@contextlib.contextmanager
def _same_safe_globals() -> Iterator[None]:
    before = torch.serialization.get_safe_globals()
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _ask(words: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        try:
            runpy.run_module(words[0], run_name="__main__")
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


@contextlib.contextmanager
def all_here() -> Iterator[None]:
    """Within, the commands start no processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", run)
        yield


@pytest.fixture
def processes_here() -> Iterator[None]:
    """The commands start no processes."""
    with all_here():
        yield
