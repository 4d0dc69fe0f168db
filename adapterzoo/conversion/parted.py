"""Models whose files hold adapters and heads, as AdapterHub's library saves them, in folders as this package has it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.conversion.output import COPIED
from adapterzoo.core.registry import NamedModules
from adapterzoo.formats import adapterhub_model, hf, shards, write
from adapterzoo.formats.adapterhub_model import Inside
from adapterzoo.pretrained import STATE
from adapterzoo.store import Shards, Source, TensorFile, find, read_json, write_json

OWN = "own-"
"""What a link's name begins with: `model.safetensors` would be read as a whole."""


class Parted(NamedTuple):
    """A directory, or a repository on the Hub, in which what belongs to a model lies beside it.

    Attributes:
        place: where it is.
        inside: whether all of it lies in the model's own files where it comes from.
    """

    place: Source
    inside: bool


@contextmanager
def parted(source: Source) -> Iterator[Parted]:
    """The source itself; or, within, if a model's files hold adapters and heads, a directory with these in folders.

    No tensor of the model itself is copied: it has its files by links, and an index of the tensors that are its own.
    Errors tell of the source.

    Args:
        source: a directory, or a repository's name on the Hub, without files in pickle's format.

    Raises:
        FileError: what `config.json` tells of them is not what it should be.
    """
    inside = _inside(source)
    if inside is None:
        yield Parted(source, False)
        return
    with tempfile.TemporaryDirectory(prefix="adapterzoo-") as folder:
        _write(source, inside, Path(folder))
        try:
            yield Parted(folder, True)
        except (OSError, ValueError) as error:
            raise type(error)(str(error).replace(folder, os.fspath(source))) from error


def _inside(source: Source) -> Inside | None:
    path = find(source, "config.json")
    config = {} if path is None else read_json(path)
    if STATE in config or not adapterhub_model.is_inside(config):
        return None
    inside = adapterhub_model.split(config, hf.open_checkpoint(source, kept=False))
    return inside if any(content.tensors for _, _, content in adapterhub_model.each(inside)) else None


def _write(source: Source, inside: Inside, folder: Path) -> None:
    tensors = hf.open_checkpoint(source, kept=False)
    files = {name: _file(tensors, name) for name in inside.tensors}
    for name in COPIED:
        if (beside := find(source, name)) is not None:
            (folder / name).symlink_to(beside.resolve())
    for file in set(files.values()):
        (folder / f"{OWN}{file.name}").symlink_to(file.resolve())
    write_json(folder / shards.INDEX, {"weight_map": {name: f"{OWN}{file.name}" for name, file in files.items()}})
    write_json(folder / "config.json", {**inside.config, STATE: _state(inside.parts)})
    for kind, name, content in adapterhub_model.each(inside):
        write(content, folder / kind / NamedModules.slug(name))


def _state(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What is there, and that the last head is active: so that library has it."""
    return {
        **{kind: list(there) for kind, there in parts.items()},
        "active_head": next(reversed(list(parts["heads"])), None),
    }


def _file(tensors: Mapping[str, Tensor], name: str) -> Path:
    """The file that a tensor lies in."""
    file = tensors.files[tensors.where[name]] if isinstance(tensors, Shards) else tensors
    assert isinstance(file, TensorFile), "pickles are read before"
    return file.path
