"""The encodings below a TensorFlow checkpoint: variable-length numbers, protocol buffers, checksums."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
"""Kinds of fields in a protocol buffer."""


class Broken(Exception):
    """What is wrong with bytes that are not what they should be, in words."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number of variable length at a place, and the place after it.

    Raises:
        Broken: the data end before it does, or it has more than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Broken("it ends within a number")
        byte = data[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128 and value < 1 << 64:
            return value, at
    raise Broken("a number has more than 64 bits")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer by their numbers, as they come: whole numbers, or bytes.

    Raises:
        Broken: it ends within a field, or a field is of another kind.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield tag >> 3, value
            continue
        if kind not in (EIGHT, BYTES, FOUR):
            raise Broken(f"a field is of an unknown kind, {kind}")
        size, at = varint(data, at) if kind == BYTES else ({EIGHT: 8, FOUR: 4}[kind], at)
        if size > len(data) - at:
            raise Broken("it ends within a field")
        part, at = data[at : at + size], at + size
        yield tag >> 3, part if kind == BYTES else int.from_bytes(part, "little")


def whole_number(value: int | bytes) -> int:
    """A field's value, which must be a number of 0 or more.

    Raises:
        Broken: it is not.
    """
    if isinstance(value, bytes) or value >= 1 << 63:
        raise Broken("a field should be a number of 0 or more")
    return value


def message(value: int | bytes) -> bytes:
    """A field's value, which must be bytes.

    Raises:
        Broken: it is not.
    """
    if not isinstance(value, bytes):
        raise Broken("a field should hold others")
    return value


def _table() -> tuple[int, ...]:
    """The checksum's change by each byte: division by Castagnoli's polynomial, lowest bit first."""
    rows = []
    for row in range(256):
        for _ in range(8):
            row = row >> 1 ^ (0x82F63B78 if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_TABLE = _table()


def checksum(data: bytes) -> int:
    """CRC-32C, masked as LevelDB and TensorFlow store it: turned by 15 bits, and a constant added."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
