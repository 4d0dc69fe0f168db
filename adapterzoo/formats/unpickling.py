"""The process that reads a PyTorch file: pickle's format, so it runs by itself, with little memory and no rights.

`python -m adapterzoo.formats.unpickling WANTED FILE FOLDER` writes what FILE holds into FOLDER: tensors, and facts.
`adapterzoo.formats.pickled` starts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo import streaming
from adapterzoo.formats.pages import Filling, Pages, Passing
from adapterzoo.zipped import Damaged, Parts

try:
    import resource
except ImportError:  # a system without such limits
    resource = None  # type: ignore[assignment]

TENSORS, FACTS = "tensors.safetensors", "facts.json"
REFUSED = 3
"""The exit code that says: the last line of stderr is a message for the user."""

ALLOWED = (Namespace,)
"""Classes that hold plain data and do nothing else, beyond those that PyTorch allows itself."""

ROOM = 1 << 29
"""Bytes of memory that may be used beyond the file's size."""

ENTRIES = 1 << 24
"""How many facts, and characters in them, a file may hold."""

DEPTH = 100
"""How deep facts may lie within others."""

COPIES = 100
"""How many times as large as a file its tensors may be where each is written under all of its names, of which those of
an MLP that makes all layers' prefixes has a few for each layer."""

SMALL = 1 << 16
"""Bytes of a storage up to which it has no file of its own."""

_ADVICE = re.compile("In PyTorch 2|Please file|Re-running|Weights only load failed")
"""What PyTorch's advice to read a file without care begins with."""

_ABSENT = object()


class Refused(Exception):
    """Why a file is not read, in words that follow its name."""


class Wanted(NamedTuple):
    """What is wanted of files.

    Attributes:
        parts: the outermost keys that count; all if None.
        twins: whether a tensor that is another once more is written once more, too.
    """

    parts: Sequence[str] | None = None
    twins: bool = False


class Findings:
    """What was found: tensors by dotted names, plain data with its nesting, and tensors that are others once more.

    Args:
        size: the file's size. Its tensors cannot be much larger, for all that they may share memory.
        twins: whether these others are tensors like all.
    """

    def __init__(self, size: int, twins: bool = False) -> None:
        self.twins = twins
        self.tensors: dict[str, Tensor] = {}
        self.aliases: dict[str, str] = {}
        self._left = ENTRIES
        self._room = (COPIES if twins else 4) * size + (1 << 20)
        self._seen: dict[object, str] = {}

    def sort(self, value: Any, name: str = "", depth: int = 0) -> Any:
        """Keep the tensors that are in a value; return the rest of it, as JSON has it."""
        self._left -= 1 + len(name) + (len(value) if isinstance(value, str) else 0)
        if self._left < 0 or depth > DEPTH:
            raise Refused("holds more data beside tensors than a checkpoint has")
        if isinstance(value, Tensor):
            self._keep(Tensor.detach(value), name)  # without the attributes that a file may give its tensors
            return _ABSENT
        if isinstance(value, Namespace):
            value = vars(value)
        if isinstance(value, Mapping):
            kept = {str(key): self.sort(each, _below(name, key), depth + 1) for key, each in value.items()}
            return {key: each for key, each in kept.items() if each is not _ABSENT}
        if isinstance(value, (list, tuple, set)):
            items = [self.sort(each, _below(name, number), depth + 1) for number, each in enumerate(value)]
            return [None if each is _ABSENT else each for each in items]
        return value if value is None or isinstance(value, (bool, int, float, str)) else _ABSENT

    def _keep(self, tensor: Tensor, name: str) -> None:
        if not is_plain(tensor):
            kind = f"{tensor.layout} {tensor.dtype} tensor on {tensor.device}".replace("torch.", "")
            raise Refused(f"holds {name!r}, a {kind}, which safetensors has no form for")
        if name in self.tensors or name in self.aliases:
            raise Refused(f"has two tensors of the name {name!r}")
        place = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
        turned = tensor.is_conj(), tensor.is_neg()
        first = self._seen.setdefault((place, tensor.dtype, tensor.shape, tensor.stride(), turned), name)
        if first != name and not self.twins:
            self.aliases[name] = first
            return
        self._room -= tensor.nbytes
        if self._room < 0:
            raise Refused(f"names more numbers than it holds, up to {name!r}")
        self.tensors[name] = tensor


def is_plain(tensor: Tensor) -> bool:
    """Whether a safetensors file has a form for a tensor: numbers in main memory, each in its place."""
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    return dense and tensor.dtype in streaming.DTYPES


def _below(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def extract(path: Path, folder: Path, wanted: Wanted) -> None:
    """Write what a file holds into a folder.

    Args:
        path: the file.
        folder: an empty folder.
        wanted: what of it.

    Raises:
        Refused: it cannot be read.
    """
    pages = Pages()
    data = load(path, folder, pages)
    if not isinstance(data, Mapping):
        raise Refused(f"holds a {type(data).__name__}, not a dict of tensors")
    found = Findings(path.stat().st_size, wanted.twins)
    facts = found.sort({key: value for key, value in data.items() if wanted.parts is None or key in wanted.parts})
    streaming.write(str(folder / TENSORS), Passing(found.tensors, pages))
    (folder / FACTS).write_text(json.dumps({"facts": facts, "aliases": found.aliases}), encoding="utf-8")


def load(path: Path, folder: Path, pages: Pages) -> Any:
    """What a file holds; its tensors stay in it, or lie in files of `folder` that have no name any more."""
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        return _as_it_lies(path, pages)
    with Filling(path, pages) as file:
        found = torch.load(file, map_location=_on_disk(folder, file), weights_only=True)
        file.check()
    return found


def _as_it_lies(path: Path, pages: Pages) -> Any:
    """What a zip file holds, whose parts are mapped where they lie."""
    parts = Parts(path, checksums=True)

    def show(storage: Any, location: str) -> Any:
        if not parts.turned:  # else PyTorch has written to the pages, not to the file
            pages.add(storage)
        return parts.seen(storage, location)

    found = torch.load(path, map_location=show, weights_only=True, mmap=True)
    parts.check()
    return found


def _on_disk(folder: Path, file: Filling) -> Callable[[Any, str], Any]:
    """Where a file of the old kind, which cannot be mapped, is read to: files instead of memory."""
    made = count()

    def place(storage: Any, location: str) -> Any:
        size = storage.nbytes()
        file.claim(size)
        if size <= SMALL:
            return file.expected(storage)
        name = folder / f"storage-{next(made)}"
        mapped = torch.UntypedStorage.from_file(str(name), True, size)
        with contextlib.suppress(OSError):  # where files in use keep their names, the folder's owner deletes them
            os.unlink(name)
        file.pages.add(mapped)
        return file.expected(mapped)

    return place


def limit(size: int) -> None:
    """Bound what this process may take: memory by the file's size, no core dumps. A system that cannot does not."""
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # no /proc, or a limit that is lower already
        pages = Path("/proc/self/statm").read_text().split()
        unit = os.sysconf("SC_PAGE_SIZE")
        for kind, now in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
            most = int(now) * unit + 2 * size + ROOM  # the file is mapped, and its largest tensor may be copied
            resource.setrlimit(kind, (most, most))


def reasons(error: BaseException) -> Iterator[str]:
    """What to tell the user of an error, the best first."""
    text = " ".join(str(error).split())
    if isinstance(error, (Refused, Damaged)):
        yield text
    found = re.search(r"GLOBAL ([\w.]+)", text)
    if found:
        yield f"holds more than tensors and plain data: {found[1]}, whose code is not run"
    if isinstance(error, MemoryError) or re.search(r"alloc|[Cc]annot map|unable to mmap|\bENOMEM\b", text):
        yield "needs far more memory than a file of its size should"
    if isinstance(error, OSError) and error.filename is None and error.errno is not None:
        yield f"could not be unpacked: {error}"
    said = _ADVICE.split(text)[0][:200].strip()
    yield f"is no whole PyTorch file ({': '.join(filter(None, (type(error).__name__, said)))})"


def main(arguments: Sequence[str]) -> int:
    """Read files one after the other, the number of each told on stdout; tell on stderr why one cannot be read.

    Args:
        arguments: what is wanted, in JSON, and a file and a folder for what it holds, again and again.
    """
    said, *places = arguments
    paths, folders = [Path(path) for path in places[::2]], [Path(folder) for folder in places[1::2]]
    torch.serialization.add_safe_globals(list(ALLOWED))
    try:
        limit(max(path.stat().st_size for path in paths))
        for number, (path, folder) in enumerate(zip(paths, folders, strict=True)):
            print(number, flush=True)
            extract(path, folder, Wanted(*json.loads(said)))
    except Exception as error:  # a broken pickle may fail in any way
        print(next(reasons(error)), file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
