"""PyTorch's files of the newer kind, zip files whose parts are mapped where they lie: whether they lie as is said.

PyTorch goes by what the pickle says of a part's size, and shows so many bytes from the part's place on. A file that was
damaged, or put together badly, would come out as numbers that are none of its own.
"""

from __future__ import annotations

import mmap
import sys
import zipfile
from pathlib import Path
from typing import Any

NAMES = 26
"""Where in a part's header the lengths of its name and of what follows that are told; the header has 4 bytes more."""

BLOCK = 1 << 20


class Damaged(ValueError):
    """What is wrong with a file, in words that follow its name."""


class Parts:
    """The parts of a file, and the memory that was said to show some of them.

    Args:
        path: the file.
        checksums: whether the parts' checksums are checked, for which all of the file is read. A part may have none.

    Raises:
        Damaged: a part is compressed, or its checksum is another.
        zipfile.BadZipFile: it is no whole zip file.

    Attributes:
        turned: whether its numbers have another byte first than this machine's, so that PyTorch turns them in memory.
    """

    def __init__(self, path: Path, checksums: bool = False) -> None:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
            if packed:
                raise Damaged(f"is a compressed zip file, which PyTorch does not write ({packed[0]})")
            orders = [archive.read(part) for part in parts if part.filename.lower().endswith("byteorder")]
            for part in parts if checksums else ():
                _read_through(archive, part)
            self._places: dict[int, list[int]] = {}
            for part in parts:
                file.seek(part.header_offset + NAMES)
                lengths = file.read(4)
                start = (
                    part.header_offset
                    + NAMES
                    + 4
                    + sum(int.from_bytes(lengths[at : at + 2], "little") for at in (0, 2))
                )
                self._places.setdefault(part.file_size, []).append(start)
        self.turned = any(order != sys.byteorder.encode() for order in orders or [b"little"])
        self._shown: dict[int, int] = {}

    def seen(self, storage: Any, location: str) -> Any:
        """Note a storage that PyTorch has mapped; as its `map_location`.

        Raises:
            Damaged: no part has its size.
        """
        if storage.nbytes() not in self._places:
            raise Damaged("names other numbers than it holds")
        if storage.nbytes():
            self._shown[storage.data_ptr()] = storage.nbytes()
        return storage

    def check(self) -> None:
        """Make sure that what was mapped is whole parts. The file is mapped from some page on, which nobody tells.

        Raises:
            Damaged: it is not so.
        """
        starts: set[int] | None = None
        for address, size in self._shown.items():
            possible = {address - place for place in self._places[size]}
            starts = possible if starts is None else starts & possible
        if starts is not None and all(start % mmap.PAGESIZE for start in starts):
            raise Damaged("names other numbers than it holds")


def _read_through(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    if part.CRC == 0:  # PyTorch can be told to write none
        return
    try:
        with archive.open(part) as file:
            while file.read(BLOCK):
                pass
    except zipfile.BadZipFile as error:
        raise Damaged(f"is damaged: {part.filename} is not what was written") from error
