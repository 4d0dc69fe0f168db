"""Changes to a TensorFlow checkpoint's index that its checksums do not tell."""

from __future__ import annotations

from pathlib import Path
from random import Random

from adapterzoo.formats.tensorflow.sstable import entries
from adapterzoo.formats.tensorflow.wire import fields
from tests.helpers.fuzz.odd import NAMES, NUMBERS
from tests.helpers.fuzz.on_bytes import ON_BYTES
from tests.helpers.tensorflow_files import field, table

Rows = dict[bytes, bytes]

COUNTS = [number for number in NUMBERS if type(number) is int and 0 <= number < 1 << 64]


def rename(rows: Rows, key: bytes, chance: Random) -> None:
    """An entry under another name."""
    text = chance.choice((*NAMES, *(other.decode(errors="replace") for other in rows), key.decode() + "x"))
    rows[text.encode(errors="replace")[:4000]] = rows.pop(key)


def drop(rows: Rows, key: bytes, chance: Random) -> None:
    """An entry is missing."""
    del rows[key]


def double(rows: Rows, key: bytes, chance: Random) -> None:
    """An entry under one more name."""
    rows[key.replace(b"layer_0", b"layer_1").replace(b"kernel", b"bias") + chance.choice((b"", b"/x"))] = rows[key]


def exchange(rows: Rows, key: bytes, chance: Random) -> None:
    """Two entries have changed names."""
    other = chance.choice(list(rows))
    rows[key], rows[other] = rows[other], rows[key]


def revalue(rows: Rows, key: bytes, chance: Random) -> None:
    """One of an entry's fields has another value."""
    said = list(fields(rows[key]))
    place = chance.randrange(len(said))
    number, value = said[place]
    if isinstance(value, int):
        said[place] = number, chance.choice((value + 1, max(0, value - 1), value * 2, chance.choice(COUNTS)))
    else:
        sizes = [chance.choice(COUNTS) for _ in range(chance.choice((0, 1, 2, 3)))]
        said[place] = number, b"".join(field(2, field(1, size)) for size in sizes)
    rows[key] = b"".join(field(*one) for one in said)


def spoil(rows: Rows, key: bytes, chance: Random) -> None:
    """An entry's bytes are others."""
    rows[key] = chance.choice(ON_BYTES)(rows[key], chance)


ON_ROWS = (rename, drop, double, exchange, revalue, revalue, revalue, spoil)


def mutate(path: Path, chance: Random) -> str:
    """Change an entry of an index."""
    rows = dict(entries(path.read_bytes()))
    change, key = chance.choice(ON_ROWS), chance.choice(list(rows))
    change(rows, key, chance)
    path.write_bytes(table(rows, chance.choice((1, 3, 100))))
    return f"{change.__name__} {key.decode(errors='replace')[:60]}"
