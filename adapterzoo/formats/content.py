"""A directory of any known format as it lies there: its JSON and its tensors, read and written without a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo.formats import adapterhub, adapterhub_fusion, hf, peft, shards
from adapterzoo.formats.lazy import cast, some
from adapterzoo.store import (
    FileError,
    Source,
    contents,
    find,
    read_json,
    read_notes,
    read_tensors,
    write_json,
    write_tensors,
)
from adapterzoo.writing import together


class Files(NamedTuple):
    """One thing that a directory may hold.

    Attributes:
        kind: "model", "adapter", "fusion", "setup" or "head".
        format: "hf", "adapterhub" or "peft".
        config: the name of its JSON file.
        weights: the names that the file of its tensors may have, the one that is written first; () where it has none.
        below: where its parts lie, as a pattern.
        key: what a JSON file of that name has if it is of this format; None where no other format has such files.
    """

    kind: str
    format: str
    config: str
    weights: tuple[str, ...]
    below: str | None = None
    key: str | None = None


FILES = (
    Files("model", "hf", "config.json", hf.WEIGHTS, "*/*"),
    Files("adapter", "peft", peft.CONFIG, peft.WEIGHTS, None, "peft_type"),
    Files("adapter", "adapterhub", adapterhub.CONFIG, adapterhub.WEIGHTS, None, "config"),
    Files("fusion", "adapterhub", adapterhub_fusion.CONFIG, adapterhub_fusion.WEIGHTS),
    Files("setup", "adapterhub", adapterhub_fusion.SETUP, (), "*"),
    Files("head", "adapterhub", adapterhub.HEAD_CONFIG, adapterhub.HEAD_WEIGHTS),
)
"""All of them. Where a directory holds several, it is the first; the others are its parts."""


@dataclass(frozen=True)
class Content:
    """What a directory holds.

    Attributes:
        kind: "model", "adapter", "fusion", "setup" or "head".
        format: "hf", "adapterhub" or "peft".
        config: what its JSON file holds.
        tensors: its tensors by the file's own names; each is read when it is looked at.
        parts: what else lies in the same directory, by its kind, or in folders below, by their paths: the head beside
            an adapter, the adapters and heads of a model, the members of a setup.
        notes: the texts that a safetensors file has beside its tensors, by name; of models they are not kept.
    """

    kind: str
    format: str
    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    parts: dict[str, Content] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def read(source: Source, allow_pickle: bool = False, revision: str | None = None) -> Content:
    """What a directory, or a repository on the Hub, holds.

    Args:
        source: the directory or repository. Of a repository, what lies in folders below is not looked for.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only, no code is run).
        revision: branch, tag or commit on the Hub.

    Raises:
        FileNotFoundError: it is not there, or holds nothing of a known format; the message says what it holds.
        FileError: a file cannot be read as what it should be.
    """
    here = held(source, revision)
    if not here:
        names = ", ".join(dict.fromkeys(one.config for one in FILES))
        raise FileNotFoundError(f"{os.fspath(source)!r} has none of {names} that is known; {contents(source)}")
    (first, config), *others = here
    beside = [(one, told) for one, told in others if one.config != first.config]
    parts = {one.kind: _read(source, one, told, allow_pickle, revision) for one, told in beside}
    for folder in _below(source, first.below):
        parts[folder.relative_to(source).as_posix()] = read(folder, allow_pickle)
    return replace(_read(source, first, config, allow_pickle, revision), parts=parts)


def held(source: Source, revision: str | None = None) -> list[tuple[Files, dict[str, Any]]]:
    """Which of `FILES` a directory or a repository holds, each with what its JSON file holds; see `read`.

    Of JSON files whose tensors are not there it holds nothing, if there are others: a config.json that lies beside an
    adapter is no model.

    Raises:
        FileError: there are JSON files, but none is of a known format.
    """
    files = [(one, read_json(path)) for one in FILES if (path := find(source, one.config, revision)) is not None]
    there = [(one, config) for one, config in files if one.key is None or one.key in config]
    if files and not there:
        keys = " and no ".join(sorted(repr(one.key) for one, _ in files))
        raise FileError(f"{files[0][0].config} of {os.fspath(source)!r} has no {keys}: it is of no known format")
    whole = [
        (one, config)
        for one, config in there
        if not one.weights or any(find(source, name, revision) is not None for name in one.weights)
    ]
    return whole or there


def _read(source: Source, files: Files, config: dict[str, Any], allow_pickle: bool, revision: str | None) -> Content:
    """One of the things that a directory holds."""
    start = (files.kind, files.format, config)
    if files.kind == "model":
        return Content(*start, hf.open_checkpoint(source, allow_pickle, revision, kept=False))
    path = next((path for name in files.weights if (path := find(source, name, revision)) is not None), None)
    if path is None and files.weights:
        raise FileNotFoundError(f"{os.fspath(source)!r} has {files.config}, but neither {' nor '.join(files.weights)}")
    if path is None:
        return Content(*start, {})
    return Content(*start, read_tensors(path, allow_pickle, mapped=True, kept=False), notes=read_notes(path))


def _below(source: Source, pattern: str | None) -> Iterator[Path]:
    """The folders of parts."""
    if pattern is None or not os.path.isdir(source):
        return
    for folder in sorted(Path(source).glob(pattern)):
        if any((folder / one.config).is_file() for one in FILES):
            yield folder


def write(content: Content, directory: Source, dtype: torch.dtype | None = None, shard_size: int | None = None) -> None:
    """Write a directory in its own format: JSON, and tensors as safetensors. All of it appears, or nothing.

    Args:
        content: what to write.
        directory: where to. Files of other things there stay.
        dtype: dtype of numbers with a fraction; their own if None.
        shard_size: bytes up to which a model's tensors lie in one file; of what is larger, shards and their index.

    Raises:
        FileExistsError: tensors lie there under a name that would be read before, or beside, what is written.
        ValueError: a name is no name of a file within the directory.
    """
    with together():
        _write_all(content, Path(directory), dtype, shard_size)


def _write_all(content: Content, folder: Path, dtype: torch.dtype | None, shard_size: int | None) -> None:
    """Write a directory, and its parts, which may have parts, too."""
    _write(content, folder, dtype, shard_size)
    for name, part in content.parts.items():
        place = folder if name == part.kind else folder / name
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"part {name!r} would lie outside of {os.fspath(folder)!r}")
        _write_all(part, place, dtype, shard_size)


def _write(content: Content, folder: Path, dtype: torch.dtype | None, shard_size: int | None) -> None:
    files = next((one for one in FILES if (one.kind, one.format) == (content.kind, content.format)), None)
    if files is None:
        known = ", ".join(f"{one.kind} of {one.format}" for one in FILES)
        raise FileError(f"there are no files of {content.kind} of {content.format}; there are {known}")
    tensors = cast(content.tensors, dtype)
    size = shard_size if content.kind == "model" else None
    names = shards.plan(tensors, files.weights[0], size) if files.weights else {}
    written = {*names, *([shards.INDEX] if len(names) > 1 else [])}
    stale = [name for name in files.weights if name not in written and (folder / name).exists()]
    if stale:
        raise FileExistsError(f"{folder} has {', '.join(stale)}, too; write to another directory")
    for name, keys in names.items():
        write_tensors(folder / name, some(tensors, keys), notes=content.notes)
    if len(names) > 1:
        write_json(folder / shards.INDEX, shards.index(tensors, names))
    write_json(folder / files.config, content.config)
