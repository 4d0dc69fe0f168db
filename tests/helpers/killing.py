"""Child processes that are killed without warning, by SIGKILL: at a moment, or before a step on the disk."""

from __future__ import annotations

import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = ("replace", "rename", "link", "unlink", "fsync", "chmod", "mkdir")
"""What changes the disk, or waits for it. pathlib calls these, too."""


def forked(action: Callable[[], object]) -> int:
    """Run an action in a copy of this process, which then ends; return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of processes with threads; ours have none
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def was_killed(child: int) -> bool:
    """Wait for a child's end, and tell whether it was killed. Any other end but a good one is an error."""
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status != 0:
        raise AssertionError(f"the child failed: {os.waitstatus_to_exitcode(status)}")
    return killed


def killed_before_step(action: Callable[[], object], number: int) -> bool:
    """Run an action in a child that is killed right before its number-th step on the disk; False if it has fewer."""
    left = number

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*args, **options)

        return run

    def within() -> None:
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        action()

    return was_killed(forked(within))


def killed_after(action: Callable[[], object], seconds: float) -> None:
    """Run an action over and over in a child, which is killed so many seconds after it has begun."""
    reading, writing = os.pipe()

    def within() -> None:
        os.write(writing, b"!")
        while True:
            action()

    child = forked(within)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert was_killed(child)


def strays(folder: Path) -> list[Path]:
    """Temporary files in a folder, however deep, and beside it."""
    hidden = [path for path in folder.rglob(".*") if path.name.endswith((".tmp", ".old", ".json"))]
    return [*hidden, *folder.parent.glob(f".{folder.name}.*")]
