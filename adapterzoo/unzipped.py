"""PyTorch's files of the older kind, which are no zip files: whether they hold all the numbers that they name.

Such a file names its tensors first, then lists whose numbers follow. PyTorch fills what is listed and leaves the rest
as its memory happened to be.
"""

from __future__ import annotations

import ctypes
import io
from pathlib import Path
from typing import Any

from adapterzoo.zipped import Damaged


class Unzipped(io.BufferedReader):
    """A file that PyTorch reads, with `placed` for its `map_location`.

    It keeps its number to itself, so that PyTorch asks it, and not the system, for what it holds.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._room = path.stat().st_size
        self._named, self._filled = set[int](), set[int]()

    def fileno(self) -> int:
        """None that is told."""
        raise io.UnsupportedOperation("fileno")

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read, and keep in mind where to."""
        count = super().readinto(buffer)
        self._filled.update([address(buffer)] if count else [])
        return count

    def placed(self, storage: Any, location: str) -> Any:
        """A storage for which the file should hold numbers; see `claim`."""
        self.claim(storage.nbytes())
        return self.expected(storage)

    def claim(self, size: int) -> None:
        """Take so many bytes for numbers.

        Raises:
            Damaged: all that were claimed so far are more than the file has.
        """
        self._room -= size
        if self._room < 0:
            raise Damaged("names more numbers than it holds")

    def expected(self, storage: Any) -> Any:
        """A storage that must have been filled when `check` is called."""
        self._named.update([storage.data_ptr()] if storage.nbytes() else [])
        return storage

    def check(self) -> None:
        """Make sure that it held them.

        Raises:
            Damaged: it did not.
        """
        if not self._named <= self._filled:
            raise Damaged("lacks the numbers of some of its tensors")


def address(buffer: memoryview) -> int:
    """Where in memory a buffer that is not empty begins."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
