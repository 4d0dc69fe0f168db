"""Files: finding them in directories and on the Hub, reading them safely, writing them whole or not at all."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from adapterzoo import streaming
from adapterzoo.hub.fetch import here
from adapterzoo.journal import settle
from adapterzoo.unzipped import Unzipped
from adapterzoo.writing import write_whole
from adapterzoo.zipped import Parts

Source = str | os.PathLike[str]

SMALL = 1 << 22
"""Bytes of a file up to which it is read at once."""


NESTED = 100
"""How deep lists and objects of a JSON file may lie within each other."""


class FileError(ValueError):
    """A file that is there but cannot be read as what it should be."""


def find(source: Source, name: str, revision: str | None = None) -> Path | None:
    """The file `name` of a directory or Hub repository; None where it has no such file.

    A directory is never looked up on the network.

    Args:
        source: a directory, or a repository's id on the Hub.
        name: the file's name in there.
        revision: branch, tag or commit on the Hub.

    Raises:
        FileNotFoundError: there is neither such a directory nor such a repository, or that may not be read.
        OSError: a download failed, or is damaged.
    """
    if os.path.isdir(source):
        path = Path(source) / name
        settle(path.parent)
        return path if os.path.isfile(path) else None  # unlike Path.is_file, it takes any name
    if os.path.isfile(source):
        raise FileNotFoundError(f"{os.fspath(source)!r} is a file; give the directory that it is in")
    if not _is_hub_id(source):
        raise FileNotFoundError(f"there is no directory {os.fspath(source)!r}")
    return here().find(str(source), name, revision)


def _is_hub_id(source: Source) -> bool:
    text = os.fspath(source)
    parts = text.split("/")
    return isinstance(source, str) and len(parts) <= 2 and all(parts) and not text.startswith((".", "~", "/"))


def require(source: Source, name: str, revision: str | None = None) -> Path:
    """As `find`, for a file that must be there.

    Raises:
        FileNotFoundError: it is not; the message says what is there.
    """
    path = find(source, name, revision)
    if path is None:
        raise FileNotFoundError(f"{os.fspath(source)!r} has no {name}; {contents(source)}")
    return path


def contents(source: Source) -> str:
    """What is in a directory, for a message; of a Hub repository, where it was looked for."""
    if not os.path.isdir(source):
        return here().whereabouts(os.fspath(source))
    there = sorted(entry.name for entry in Path(source).iterdir())
    return f"it has {', '.join(there) or 'no files'}"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        FileError: it is not JSON, or no object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not JSON: {error}") from error
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> dict[str, Any]:
    """A text in JSON that is an object.

    Args:
        text: the text.
        where: where it comes from, for messages.

    Raises:
        FileError: it is not JSON, or no object.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # of the one is JSONDecodeError
        raise FileError(f"{where} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise FileError(f"{where} should hold a JSON object, not {type(data).__name__}")
    if _deeper(data, NESTED):
        raise FileError(f"{where} has lists or objects within others, more than {NESTED} deep")
    if not _is_unicode(text, data):
        raise FileError(f"{where} holds text that is no Unicode: half of a surrogate pair, alone")
    return data


def _deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects lie within each other deeper than so."""
    level = [value]
    for _ in range(depth):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        level = [one for one in level if isinstance(one, (dict, list))]
        if not level:
            return False
    return True


def _is_unicode(text: str, data: Any) -> bool:
    """Whether all texts in a JSON file can be printed and written. Only escapes can be such that they cannot."""
    if re.search(r"\\u[dD][89a-fA-F]", text) is None:
        return True
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class TensorFile(streaming.ByRows):
    """The tensors of a safetensors file, of which a memory map shows what is looked at.

    The map is private: who writes to a tensor changes no file.

    Args:
        path: the file.
        kept: whether what was looked at stays in memory; if not, each look maps the file anew, and with the last
            tensor that came of it the map goes.

    Raises:
        FileError: the file is no whole safetensors file.
    """

    def __init__(self, path: Path, kept: bool = True) -> None:
        self.path, self.kept = path, kept
        self._likes: dict[str, Tensor] = {}
        try:
            self._file = self._open()
            self._seen: dict[str, Tensor | None] = dict.fromkeys(self._file.keys())
        except (safetensors.SafetensorError, OSError) as error:
            raise FileError(f"{path} is no whole safetensors file: {error}") from error

    def _open(self) -> Any:
        return safetensors.safe_open(self.path, framework="pt")

    def __getitem__(self, name: str) -> Tensor:
        found = self._seen[name]
        if found is None:
            found = (self._file if self.kept else self._open()).get_tensor(name)
        if self.kept:
            self._seen[name] = found
        return found

    def like(self, name: str) -> Tensor:
        """One of a tensor's shape and dtype, whose numbers count for nothing."""
        if self.kept:
            return self[name]
        if name not in self._likes:
            self._likes[name] = torch.empty_like(self[name], device="meta")
        return self._likes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)


class Shards(streaming.ByRows):
    """Tensors that lie in several files, by an index.

    Args:
        where: each tensor's file name.
        files: the files by name.

    Raises:
        FileError: a tensor is not in the file that the index names.
    """

    def __init__(self, where: Mapping[str, str], files: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.where, self.files = where, files
        lost = [name for name, file in where.items() if name not in files[file]]
        if lost:
            raise FileError(f"the index names tensors that their files do not hold: {', '.join(sorted(lost))}")

    def __getitem__(self, name: str) -> Tensor:
        return self.files[self.where[name]][name]

    def like(self, name: str) -> Tensor:
        """One of a tensor's shape and dtype, whose numbers count for nothing."""
        return streaming.like(self.files[self.where[name]], name)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of a tensor."""
        return streaming.rows(self.files[self.where[name]], name, start, stop)

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)


def read_tensors(
    path: Path, allow_pickle: bool = False, mapped: bool = False, kept: bool = True
) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file, or with `allow_pickle` of a PyTorch file (`weights_only=True`, always).

    Args:
        path: the file.
        allow_pickle: whether it may be a PyTorch file.
        mapped: whether a safetensors file is mapped into memory however small it is; others are read at once.
        kept: see TensorFile.

    Raises:
        FileError: the file cannot be read as that, or is a PyTorch file and `allow_pickle` is not set.
    """
    if path.suffix == ".safetensors":
        return TensorFile(path, kept) if mapped or path.stat().st_size > SMALL else _read_whole(path)
    data = _unpickled(path, allow_pickle)
    if not isinstance(data, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in data.items()):
        raise FileError(f"{path} holds something else than tensors by name")
    return data


def _read_whole(path: Path) -> dict[str, Tensor]:
    """The tensors of a small safetensors file, each in memory of its own: quicker than to map many small files."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except KeyError as error:
        raise FileError(f"{path} holds tensors of a dtype that cannot be read, {error}") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise FileError(f"{path} is no whole safetensors file: {error}") from error
    return {name: tensors[name] for name in sorted(tensors)}


def read_notes(path: Path) -> dict[str, str]:
    """The texts that a safetensors file has beside its tensors, by name; none of another file.

    Raises:
        FileError: the file is no whole safetensors file.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError) as error:
        raise FileError(f"{path} is no whole safetensors file: {error}") from error


def read_tensor(path: Path, allow_pickle: bool = False) -> Tensor:
    """The one tensor of a PyTorch file that holds nothing else, read as `read_tensors` reads several.

    Raises:
        FileError: the file cannot be read as that, or `allow_pickle` is not set.
    """
    data = _unpickled(path, allow_pickle)
    if not isinstance(data, Tensor):
        raise FileError(f"{path} should hold one tensor, not a {type(data).__name__}")
    return data.detach()


def _unpickled(path: Path, allow_pickle: bool) -> Any:
    if not allow_pickle:
        raise FileError(
            f"{path} is a PyTorch file, in pickle's format. If you trust where it came from, pass allow_pickle=True "
            "(only tensors are read from it, no code is run); or convert it once and for all: "
            "python -m weights_conversion convert SRC DST --allow-pickle"
        )
    try:
        if not zipfile.is_zipfile(path):
            with Unzipped(path) as file:
                found = torch.load(file, map_location=file.placed, weights_only=True)
                file.check()
            return found
        parts = Parts(path)
        found = torch.load(path, map_location=parts.seen, weights_only=True, mmap=True)
        parts.check()
        return found
    except Exception as error:  # a broken pickle may fail in any way
        raise FileError(f"{path} is no whole PyTorch file of tensors alone: {error}") from error


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8", newline="\n"))


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    step: Callable[[str], object] = lambda name: None,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a safetensors file, whole or not at all. No more than a piece of what is not in memory already comes there.

    Args:
        path: the file.
        tensors: the tensors by name.
        step: is told the name of each before it is written.
        notes: texts that go into the file beside the tensors, by name.

    Raises:
        ValueError: tensors are of a dtype that such files do not have.
    """
    write_whole(path, lambda temporary: streaming.write(temporary, tensors, step, notes))
