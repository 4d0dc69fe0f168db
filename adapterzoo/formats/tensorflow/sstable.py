"""LevelDB's sorted tables, in which TensorFlow keeps a checkpoint's index.

A table is blocks of keys with values, an index block that names where these lie, and a footer that names where that
one lies. Each block is followed by a byte for its compression and a checksum.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapterzoo.formats.tensorflow.wire import Broken, checksum, varint

FOOTER, TRAILER = 48, 5
MAGIC = 0xDB4775248B80FB57
LONGEST = 1 << 12
"""Bytes that a key may have. A key repeats the one before it at no cost, so a small table could hold huge ones."""


def entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys of a table, sorted, and their values.

    Raises:
        Broken: it is no whole table, or compressed.
    """
    if len(data) < FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
        raise Broken("it does not end as a table does (cut short?)")
    _, at = _handle(data, len(data) - FOOTER)
    index, _ = _handle(data, at)
    last = None
    for _, place in _pairs(_block(data, *index)):
        for key, value in _pairs(_block(data, *_handle(place, 0)[0])):
            if last is not None and key <= last:
                raise Broken("its keys are not sorted")
            last = key
            yield key, value


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Where a block is and how long it is; and the place after that."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> bytes:
    """A block's content."""
    if offset + size + TRAILER > len(data) - FOOTER:
        raise Broken("it names a block beyond its end")
    end = offset + size
    if data[end] != 0:
        raise Broken(f"its blocks are compressed (kind {data[end]}, mostly Snappy), which is not read here")
    if checksum(data[offset : end + 1]) != int.from_bytes(data[end + 1 : end + TRAILER], "little"):
        raise Broken("a block has another checksum than it should")
    return data[offset:end]


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. Each key is given as what differs from the one before."""
    if len(block) < 4:
        raise Broken("a block is too short")
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")  # where the list of keys that stand whole begins
    if end < 0:
        raise Broken("a block is too short")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or shared + own > LONGEST or own + size > end - at:
            raise Broken("a key or a value is longer than it can be")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + size]
        at += own + size
