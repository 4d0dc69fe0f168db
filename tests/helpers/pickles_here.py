"""PyTorch's files read in this process, for tests of what else becomes of them: a process of its own takes seconds."""

from __future__ import annotations

import contextlib
import io
import resource
import subprocess
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from adapterzoo.formats import pickled, unpickling


def run_here(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
    """What the process that reads pickles does, done by this one, for which its bounds hold meanwhile."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), _for_now():
        code = unpickling.main(command[command.index(pickled.READER) + 1 :])
    return subprocess.CompletedProcess(list(command), code, out.getvalue().encode(), errors.getvalue().encode())


@contextlib.contextmanager
def _for_now() -> Iterator[None]:
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
def reading_here() -> Iterator[None]:
    """Within, pickles are read by this process."""
    stand_in = SimpleNamespace(run=run_here, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickled, "subprocess", stand_in)
        yield


@pytest.fixture
def pickles_here() -> Iterator[None]:
    """The commands read pickles in this process."""
    with reading_here():
        yield
