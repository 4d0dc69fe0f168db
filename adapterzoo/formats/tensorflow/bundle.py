"""TensorFlow's checkpoints of the second kind, "tensor bundles": an index, and files in which the numbers lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from adapterzoo.core.registry import UnknownName, unknown
from adapterzoo.formats.tensorflow.sstable import entries
from adapterzoo.formats.tensorflow.wire import Broken, checksum, fields, message, whole_number
from adapterzoo.store import FileError
from adapterzoo.streaming import ByRows

INDEX = ".index"
DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    19: torch.float16,
}
"""TensorFlow's numbers of dtypes."""

OBJECTS = b"_CHECKPOINTABLE_OBJECT_GRAPH"
"""The entry that tells a checkpoint of TensorFlow 2's objects, in which names say nothing without it."""

MOST_INDEX, MOST_CHECKED = 1 << 26, 1 << 14
"""Bytes that an index may have, and that a tensor may for its checksum to be checked, which takes Python a while."""


class Entry(NamedTuple):
    """What the index tells of one tensor: its dtype's number, its shape, and where in which file it lies."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class Bundle(ByRows):
    """The tensors of a TensorFlow checkpoint. A memory map shows those that are looked at, each look a new one.

    Args:
        prefix: what the names of its files begin with: "bert_model.ckpt".

    Raises:
        FileNotFoundError: there is no index of that name.
        FileError: it cannot be read. The same when a tensor is looked at that its file does not hold as the index
            says, that lies in pieces, or that has no numbers in it.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix, self.index = prefix, prefix.with_name(prefix.name + INDEX)
        if not self.index.is_file():
            raise FileNotFoundError(f"there is no {self.index}")
        if self.index.stat().st_size > MOST_INDEX:
            raise FileError(f"{self.index} has more than {MOST_INDEX:,} bytes, which no index of a BERT has")
        try:
            found = dict(entries(self.index.read_bytes()))
            self.shards = _shards(found.pop(b"", b""))
            objects = found.pop(OBJECTS, None)
            # the pieces of partitioned variables have keys of their own, which begin with a zero
            self.entries = {key.decode(): _entry(value) for key, value in found.items() if key[0]}
        except (Broken, UnicodeDecodeError) as error:
            raise FileError(f"{self.index} is no whole index of a TensorFlow checkpoint: {error}") from error
        if objects is not None:
            raise FileError(
                f"{self.index} is of a checkpoint of TensorFlow 2's objects; Google's BERTs are of version 1"
            )
        self._checked: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.entries:
            raise UnknownName(unknown(f"tensor in {self.index}", name, self.entries))
        entry = self.entries[name]
        if entry.sliced:
            raise FileError(f"{self.index} holds {name} in several pieces (a partitioned variable), which is not read")
        dtype = DTYPES.get(entry.dtype)
        if dtype is None:
            raise FileError(f"{self.index} holds {name} as TensorFlow's dtype {entry.dtype}, which is not read")
        if len(entry.shape) > 8 or math.prod(entry.shape) * dtype.itemsize != entry.size:
            raise FileError(f"{self.index} gives {name} the shape {entry.shape}, but {entry.size} bytes of {dtype}")
        there = self._map(entry.shard)
        if entry.offset + entry.size > len(there):
            raise FileError(
                f"{self.file(entry.shard)} ends before {name} does (cut short?): it has {len(there):,} bytes"
            )
        numbers = there[entry.offset : entry.offset + entry.size]
        if entry.size <= MOST_CHECKED and name not in self._checked:
            if checksum(bytes(numbers.tolist())) != entry.checksum:
                raise FileError(f"{self.file(entry.shard)} holds {name} with another checksum than it should")
            self._checked.add(name)
        aligned = numbers if entry.offset % dtype.itemsize == 0 else numbers.clone()
        return aligned.view(dtype).view(entry.shape)

    def file(self, shard: int) -> Path:
        """The file of that number."""
        return self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}")

    def _map(self, shard: int) -> Tensor:
        """The bytes of a file, mapped."""
        path = self.file(shard)
        if shard >= self.shards or not path.is_file():
            raise FileError(f"{self.index} names a file {path.name} that is not there")
        size = path.stat().st_size
        storage = torch.UntypedStorage.from_file(str(path), False, size) if size else torch.UntypedStorage(0)
        return torch.tensor([], dtype=torch.uint8).set_(storage, 0, (size,))  # type: ignore[call-overload,no-any-return]


def _shards(header: bytes) -> int:
    """How many files there are, by the header."""
    shards, big = 0, 0
    for number, value in fields(header):
        if number == 1:
            shards = whole_number(value)
        elif number == 2:
            big = whole_number(value)
    if big:
        raise Broken("it was written on a machine that puts a number's highest byte first")
    if not 0 < shards < 100_000:
        raise Broken(f"it has {shards} files")
    return shards


def _entry(data: bytes) -> Entry:
    """One entry of the index."""
    numbers = dict.fromkeys((1, 3, 4, 5, 6), 0)
    shape: tuple[int, ...] = ()
    sliced = False
    for number, value in fields(data):
        if number in numbers:
            numbers[number] = whole_number(value)
        elif number == 2:
            shape = _shape(message(value))
        elif number == 7:
            sliced = True
    dtype, shard, offset, size, crc = numbers.values()
    return Entry(dtype, shape, shard, offset, size, crc, sliced)


def _shape(data: bytes) -> tuple[int, ...]:
    sizes = [message(value) for number, value in fields(data) if number == 2]
    return tuple(next((whole_number(value) for number, value in fields(size) if number == 1), 0) for size in sizes)
