"""Damage to files that knows nothing of what they hold, and to the folders that they are in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

from tests.helpers.fuzz.odd import NAMES


def cut(data: bytes, chance: Random) -> bytes:
    """Without what comes after some place."""
    return data[: chance.randrange(len(data) + 1)]


def flip(data: bytes, chance: Random) -> bytes:
    """Some bits are others."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        if found:
            found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def flip_in_front(data: bytes, chance: Random) -> bytes:
    """Some bits of the beginning are others: of a header, if there is one."""
    size = chance.choice((8, 64, 512, 4096))
    return flip(data[:size], chance) + data[size:]


def overwrite(data: bytes, chance: Random) -> bytes:
    """A run of bytes is another."""
    start, size = chance.randrange(len(data) + 1), chance.choice((1, 4, 16, 256))
    return data[:start] + chance.choice((b"\0", b"\xff", chance.randbytes(1))) * size + data[start + size :]


def leave_out(data: bytes, chance: Random) -> bytes:
    """A run of bytes is missing."""
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start + chance.choice((1, 3, 8, 100)) :]


def put_in(data: bytes, chance: Random) -> bytes:
    """A run of bytes too many, of the file's own or of others."""
    start, size = chance.randrange(len(data) + 1), chance.choice((1, 3, 8, 100))
    more = chance.choice((chance.randbytes(size), data[start : start + size]))
    return data[:start] + more + data[start:]


def longer(data: bytes, chance: Random) -> bytes:
    """Something after the end."""
    return data + chance.choice((b"\0" * 100, b"\n", data[:50], chance.randbytes(9)))


def nothing(data: bytes, chance: Random) -> bytes:
    """An empty file."""
    return b""


ON_BYTES = (cut, flip, flip, flip_in_front, flip_in_front, overwrite, leave_out, put_in, longer, nothing)

# ---------------------------------------------------------------------------------------------- folders


def remove(path: Path, files: list[Path], chance: Random) -> None:
    """The file is not there."""
    path.unlink()


def folder_instead(path: Path, files: list[Path], chance: Random) -> None:
    """A folder of its name, empty or with a file."""
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / path.name).write_bytes(b"{}")


def link_instead(path: Path, files: list[Path], chance: Random) -> None:
    """A link in its place: to nothing, to itself, to another file, to a folder, to a device."""
    path.unlink()
    targets = [path.parent / "gone", path, chance.choice(files), path.parent, Path("/dev/null"), Path("/dev/zero")]
    path.symlink_to(chance.choice(targets))


def swap(path: Path, files: list[Path], chance: Random) -> None:
    """It and another file have changed places."""
    other = chance.choice(files)
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def copy_over(path: Path, files: list[Path], chance: Random) -> None:
    """Another file's content."""
    path.write_bytes(chance.choice(files).read_bytes())


def move(path: Path, files: list[Path], chance: Random) -> None:
    """It has another name."""
    name = chance.choice([name for name in NAMES if _may_be_a_name(name)] + [other.name for other in files])
    os.replace(path, path.with_name(name))


def pipe_instead(path: Path, files: list[Path], chance: Random) -> None:
    """A pipe, from which nothing ever comes."""
    path.unlink()
    os.mkfifo(path)


def twice(path: Path, files: list[Path], chance: Random) -> None:
    """There is the same under another file's name, too."""
    shutil.copyfile(path, path.with_name(chance.choice(("model.safetensors", "config.json", "pytorch_model.bin"))))


ON_FOLDERS = (remove, folder_instead, link_instead, swap, copy_over, move, pipe_instead, twice)


def _may_be_a_name(name: str) -> bool:
    return name not in ("", ".", "..") and len(name) < 256 and not set(name) & set("/\0\ud800")
