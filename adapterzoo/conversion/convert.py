"""A checkpoint of any of the known shapes, written as safetensors under HF's names, a task's head beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo import zoo
from adapterzoo.conversion.checkpoint import Checkpoint
from adapterzoo.conversion.inspection import kept
from adapterzoo.formats import hf, shards
from adapterzoo.formats.lazy import Lazy, cast, cast_one, some
from adapterzoo.pretrained import KINDS, config_json
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


def convert(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: str | None,
    step: Callable[[str], object],
    shard_size: int | None = None,
) -> None:
    """Write a checkpoint, which `Checkpoint.check` found whole, into an empty directory, tensor by tensor.

    The class stays the same. A task's head is there twice: among the weights, from where classes with fixed and with
    flexible heads take it, and in AdapterHub's format in `heads/default`, for `load_head` of any other model.

    Args:
        checkpoint: the checkpoint.
        folder: where to write.
        dtype: dtype of the weights, "float32" and such; their own if None.
        step: is told what is going to be written, as often as `steps` says.
        shard_size: bytes up to which the tensors lie in one file; of what is larger, shards and their index.
    """
    tensors = cast(foreign(checkpoint), None if dtype is None else getattr(torch, dtype))
    files = shards.plan(tensors, "model.safetensors", shard_size)
    for file, names in files.items():
        write_tensors(folder / file, some(tensors, names), partial(_told, step, file))
    if len(files) > 1:
        write_json(folder / shards.INDEX, shards.index(tensors, files))
    step("config.json")
    common = reduce(torch.promote_types, {like(tensors, name).dtype for name in tensors})
    class_name = checkpoint.architecture.class_name(checkpoint.model.static)
    write_json(folder / "config.json", config_json(checkpoint.model.config, class_name, common))
    step("adapters, heads and embeddings")
    for kind in KINDS:
        for kept_folder in kept(checkpoint, kind):
            shutil.copytree(kept_folder, folder / kind / Path(kept_folder).name)
    write_flexible_head(checkpoint, folder, dtype)
    step("tokenizer files")
    copy_beside(checkpoint.source, folder)


def _told(step: Callable[[str], object], file: str, name: str) -> None:
    step(f"{file}: {name}")


def steps(checkpoint: Checkpoint) -> int:
    """How often `convert` calls `step`."""
    return len(foreign(checkpoint)) + 3


def copied(checkpoint: Checkpoint) -> list[str]:
    """The files beside a checkpoint that are copied."""
    return [name for name in COPIED if find(checkpoint.source, name) is not None]


def copy_beside(source: Source, folder: Path) -> None:
    """Copy them, but for those that are there."""
    for name in COPIED:
        path = find(source, name)
        if path is not None and not (folder / name).exists():
            shutil.copyfile(path, folder / name)


def foreign(checkpoint: Checkpoint) -> Lazy:
    """A checkpoint's tensors under HF's names of today, in the order of our network.

    A tensor that the tables know is kept even where the class has no place for it: other classes may. What is missing,
    and nobody need be told, is zero.
    """
    found, static = checkpoint.fit, checkpoint.model.static
    makers: dict[str, Callable[[], Tensor]] = {}
    homes: dict[str, Any] = {**{name: found.sources.get(name) for name in found.wanted}, **found.homeless}
    for ours, parts in homes.items():
        names = hf.foreign_names(checkpoint.architecture, static, ours)
        if parts is not None:
            pairs = zip(names, parts, strict=True)
            makers |= {
                theirs: partial(checkpoint.tensors.__getitem__, part) for theirs, part in pairs if part is not None
            }
        elif ours not in found.told:
            makers |= dict.fromkeys(names, partial(_zeros, found.wanted[ours]))
    return Lazy(makers)


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=like.dtype)


def write_flexible_head(checkpoint: Checkpoint, folder: Path, dtype: str | None) -> None:
    """Write a task's head as a flexible one, in AdapterHub's format, if the architecture's flexible class has such."""
    model = zoo.CLASSES[f"{checkpoint.architecture.name}AdapterModel"](checkpoint.model.config, initialise=False)
    target = model.head_target(checkpoint.model.static, {})
    if target is None or target[0].head_type not in checkpoint.architecture.heads:
        return
    head: Any = target[0]
    own, asked = checkpoint.tensors, None if dtype is None else getattr(torch, dtype)
    values: dict[str, Tensor] = {}
    for name, tensor in head.state_dict().items():
        parts = checkpoint.fit.sources.get("base.token.weight" if name in head.tied else f"head.{name}")
        values[name] = cast_one(torch.zeros(tensor.shape) if parts is None else hf.gather(parts, own), asked)
    head.load_state_dict(values, assign=True)
    model.save_head(folder / "heads" / head.name, head.name)
