"""One at a time: folders that a process holds as long as it renames files there, while others wait."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without such locks
    fcntl = None  # type: ignore[assignment]

PATIENCE = 60.0
"""Seconds to wait for somebody who holds a folder. To rename the files of a model takes far less than one."""

PAUSE = 0.005
"""Seconds between two tries."""


@contextlib.contextmanager
def held(folders: Iterable[Path]) -> Iterator[None]:
    """Hold folders within, all of them or none. Who is killed holds none any more, and no file tells of it.

    Where a system or a file system has no such locks, nobody waits. They are no bar to who does not ask for them.

    Raises:
        FileNotFoundError: a folder is not there.
        TimeoutError: somebody else does not let one go.
    """
    with contextlib.ExitStack() as stack:
        handles: dict[tuple[int, int], tuple[int, Path]] = {}
        for folder in folders if fcntl is not None else ():
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)  # which lets it go
            told = os.fstat(handle)
            handles.setdefault((told.st_dev, told.st_ino), (handle, folder))
        for key in sorted(handles):  # in one order for all, so that no two wait for each other
            _hold(*handles[key])
        yield


def _hold(handle: int, folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > until:
                said = f"another process has been saving to {folder} for {PATIENCE:.0f} seconds; is it stopped?"
                raise TimeoutError(said) from error
            time.sleep(PAUSE)
        except OSError:  # a file system without such locks
            return
