"""Progress, shown where somebody can watch it: on stderr, if that is a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm


class Steps:
    """A bar that moves by one each time a step is named.

    Args:
        total: how many steps there are.
        quiet: whether to show nothing at all.
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        self.started = 0
        self.bar: Any = tqdm(total=total, leave=False, disable=quiet or not watched())

    def __call__(self, what: str) -> None:
        """Begin a step; the one before is done."""
        self.bar.update(min(self.started, 1))
        self.started += 1
        self.bar.set_description(what)

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bar.close()


def watched() -> bool:
    """Whether somebody sees what is written to stderr as it is written."""
    return sys.stderr.isatty()
