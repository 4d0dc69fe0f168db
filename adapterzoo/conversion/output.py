"""A model's directory that shall be written: what goes into it, and the writing, tensor by tensor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo.archs import ModelConfig
from adapterzoo.formats import Content, shards
from adapterzoo.formats import write as write_content
from adapterzoo.formats.content import FILES
from adapterzoo.formats.lazy import cast, some
from adapterzoo.pretrained import config_json
from adapterzoo.store import Source, find, write_json, write_tensors
from adapterzoo.streaming import like

COPIED = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
)
"""Files that are copied as they are."""


@dataclass
class Output:
    """A directory that shall be written.

    Attributes:
        source: the directory or repository that it is made of.
        config: the model's config.
        class_name: the model's class.
        tensors: the model's tensors, each made when it is looked at.
        beside: what lies in folders, by their paths: files to copy, or what is to be written.
        notes: what does not go along, and why.
        entries: what `config.json` has beside the config.
    """

    source: Source
    config: ModelConfig
    class_name: str
    tensors: Mapping[str, Tensor]
    beside: dict[str, Path | Content] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    entries: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """How often `write` calls `step`."""
        return len(self.tensors) + 3

    @property
    def copied(self) -> list[str]:
        """The files beside the source that are copied."""
        return [name for name in COPIED if find(self.source, name) is not None]

    def files(self, dtype: str | None, shard_size: int | None) -> list[str]:
        """The files that `write` writes."""
        tensors = cast(self.tensors, None if dtype is None else getattr(torch, dtype))
        own = list(shards.plan(tensors, "model.safetensors", shard_size))
        named = [*own, *([shards.INDEX] if len(own) > 1 else []), "config.json", *self.copied]
        for path, part in self.beside.items():
            named += [f"{path}/{name}" for name in _files_of(part)]
        return sorted(named)


def _files_of(part: Path | Content) -> list[str]:
    """The files of what lies beside."""
    if isinstance(part, Content):
        return [name for one in FILES if one.kind == part.kind for name in (one.config, *one.weights[:1])]
    return [path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()]


def write(
    output: Output,
    folder: Path,
    dtype: str | None,
    step: Callable[[str], object],
    shard_size: int | None = None,
) -> None:
    """Write it into an empty directory.

    Args:
        output: what to write.
        folder: where to.
        dtype: dtype of the weights, "float32" and such; their own if None. What is copied stays as it is.
        step: is told what is going to be written, as often as `Output.steps` says.
        shard_size: bytes up to which the tensors lie in one file; of what is larger, shards and their index.
    """
    asked = None if dtype is None else getattr(torch, dtype)
    tensors = cast(output.tensors, asked)
    files = shards.plan(tensors, "model.safetensors", shard_size)
    for file, names in files.items():
        write_tensors(folder / file, some(tensors, names), partial(_told, step, file))
    if len(files) > 1:
        write_json(folder / shards.INDEX, shards.index(tensors, files))
    step("config.json")
    common = reduce(torch.promote_types, {like(tensors, name).dtype for name in tensors})
    content = config_json(output.config, output.class_name, common)
    write_json(folder / "config.json", {**content, **output.entries})
    step("adapters, heads and embeddings")
    for path, part in output.beside.items():
        if isinstance(part, Content):
            write_content(part, folder / path, asked)
        else:
            shutil.copytree(part, folder / path)
    step("tokenizer files")
    copy_beside(output.source, folder)


def _told(step: Callable[[str], object], file: str, name: str) -> None:
    step(f"{file}: {name}")


def copy_beside(source: Source, folder: Path) -> None:
    """Copy the files beside a source, but for those that are there."""
    for name in COPIED:
        path = find(source, name)
        if path is not None and not (folder / name).exists():
            shutil.copyfile(path, folder / name)
