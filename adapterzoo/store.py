"""Files: finding them in directories and on the Hub, reading them safely, writing them whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors
import safetensors.torch
import torch
from torch import Tensor

Source = str | os.PathLike[str]


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
        FileNotFoundError: there is neither such a directory nor such a repository.
    """
    if os.path.isdir(source):
        path = Path(source) / name
        return path if path.is_file() else None
    if not _is_hub_id(source):
        raise FileNotFoundError(f"there is no directory {os.fspath(source)!r}")
    try:
        return Path(huggingface_hub.hf_hub_download(str(source), name, revision=revision))
    except huggingface_hub.errors.LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"there is no directory {source!r}, and {name} of the Hub repository of that name is neither in the cache "
            "nor to be had now (offline?)"
        ) from error
    except huggingface_hub.errors.EntryNotFoundError:
        return None
    except (
        huggingface_hub.errors.RepositoryNotFoundError,
        huggingface_hub.errors.RevisionNotFoundError,
        huggingface_hub.errors.HFValidationError,
    ) as error:
        raise FileNotFoundError(f"there is no directory {source!r}, and no such Hub repository: {error}") from error


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
        there = sorted(entry.name for entry in Path(source).iterdir()) if os.path.isdir(source) else []
        raise FileNotFoundError(f"{os.fspath(source)!r} has no {name}; it has {', '.join(there) or 'no files'}")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        FileError: it is not JSON, or no object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise FileError(f"{path} should hold a JSON object, not {type(data).__name__}")
    return data


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a safetensors file, read from a memory map when they are looked at.

    Raises:
        FileError: the file is no whole safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safetensors.safe_open(path, framework="pt")
            self._names = list(self._file.keys())
        except (safetensors.SafetensorError, OSError) as error:
            raise FileError(f"{path} is no whole safetensors file: {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Shards(Mapping[str, Tensor]):
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

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)


def read_tensors(path: Path, allow_pickle: bool = False) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file, or with `allow_pickle` of a PyTorch file (`weights_only=True`, always).

    Raises:
        FileError: the file cannot be read as that, or is a PyTorch file and `allow_pickle` is not set.
    """
    if path.suffix == ".safetensors":
        return TensorFile(path)
    if not allow_pickle:
        raise FileError(
            f"{path} is a PyTorch file, in pickle's format. If you trust where it came from, pass allow_pickle=True "
            "(only tensors are read from it, no code is run); or convert it once and for all: "
            "python -m weights_conversion convert SRC DST --allow-pickle"
        )
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as error:
        raise FileError(f"{path} is no whole PyTorch file of tensors alone: {error}") from error
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        raise FileError(f"{path} holds something else than tensors by name")
    return data


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    _write(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all."""
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    try:
        _write(path, lambda temporary: safetensors.torch.save_file(plain, temporary, metadata={"format": "pt"}))
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def _write(path: Path, write: Callable[[str], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        write(temporary)
        sync(temporary)
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def umask() -> int:
    """What the process masks out of the permissions of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Source) -> None:
    """Wait until a file, or a directory's list of files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
