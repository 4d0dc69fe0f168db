"""Memory that shows files, and goes when it is not looked at: who goes through a large file stays small."""

from __future__ import annotations

import bisect
import ctypes
import mmap
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from adapterzoo.streaming import PIECE, ByRows
from adapterzoo.unzipped import Unzipped, address

DONT_NEED = 4
"""What Linux calls it when pages are not needed any more."""


class Pages:
    """Pages of mapped files that nobody writes to but through the file: gone from memory, they can be had again."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []
        self._advise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None

    def add(self, storage: Any) -> None:
        """Tell of a storage that shows a file."""
        bisect.insort(self._spans, (storage.data_ptr(), storage.nbytes()))

    def drop(self, start: int, size: int) -> None:
        """Let what lies at an address leave memory, if it is known to show a file; elsewhere than on Linux, nothing."""
        place = bisect.bisect(self._spans, (start, sys.maxsize)) - 1
        if self._advise is None or place < 0 or start + size > sum(self._spans[place]):
            return
        first = start - start % mmap.PAGESIZE  # what shares a page with a mapped file's bytes is of that file
        self._advise(ctypes.c_void_p(first), ctypes.c_size_t(start + size - first), DONT_NEED)


class Passing(ByRows):
    """Tensors each of which leaves memory when the next is looked at.

    Args:
        tensors: the tensors by name.
        pages: where those that are mapped lie.
    """

    def __init__(self, tensors: Mapping[str, Tensor], pages: Pages) -> None:
        self.tensors, self.pages = tensors, pages
        self._last: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        if self._last is not None:
            storage = self._last.untyped_storage()
            self.pages.drop(storage.data_ptr(), storage.nbytes())
        self._last = self.tensors[name]
        return self._last

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


class Filling(Unzipped):
    """A file from which PyTorch reads numbers into mapped ones: what has been read leaves memory.

    Args:
        path: the file.
        pages: where those that are mapped lie.
    """

    def __init__(self, path: Path, pages: Pages) -> None:
        super().__init__(path)
        self.pages, self._last = pages, (0, 0)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as many bytes as there is room for, or as a piece has."""
        self.pages.drop(*self._last)
        count = super().readinto(memoryview(buffer)[:PIECE])
        self._last = (address(buffer) if count else 0, count)
        return count
