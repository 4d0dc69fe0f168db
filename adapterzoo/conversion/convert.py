"""A checkpoint of any of the known shapes, written as safetensors under HF's names, a task's head beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo import zoo
from adapterzoo.conversion.checkpoint import Checkpoint
from adapterzoo.conversion.inspection import kept
from adapterzoo.formats import hf
from adapterzoo.pretrained import KINDS, config_json
from adapterzoo.store import find, write_json, write_tensors

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


def convert(checkpoint: Checkpoint, folder: Path, dtype: str | None, step: Callable[[str], object]) -> None:
    """Write a checkpoint, which `Checkpoint.check` found whole, into an empty directory.

    The class stays the same. A task's head is there twice: among the weights, from where classes with fixed and with
    flexible heads take it, and in AdapterHub's format in `heads/default`, for `load_head` of any other model.

    Args:
        checkpoint: the checkpoint.
        folder: where to write.
        dtype: dtype of the weights, "float32" and such; their own if None.
        step: is told what is going to be written.
    """
    step("model.safetensors")
    tensors = foreign_tensors(checkpoint, None if dtype is None else getattr(torch, dtype))
    write_tensors(folder / "model.safetensors", tensors)
    step("config.json")
    common = reduce(torch.promote_types, {tensor.dtype for tensor in tensors.values()})
    class_name = checkpoint.architecture.class_name(checkpoint.model.static)
    write_json(folder / "config.json", config_json(checkpoint.config, class_name, common))
    step("adapters, heads and embeddings")
    for kind in KINDS:
        for kept_folder in kept(checkpoint, kind):
            shutil.copytree(kept_folder, folder / kind / Path(kept_folder).name)
    write_flexible_head(checkpoint, folder, dtype)
    step("tokenizer files")
    for name in copied(checkpoint):
        shutil.copyfile(str(find(checkpoint.source, name)), folder / name)


STEPS = 4
"""How often `convert` calls `step`."""


def copied(checkpoint: Checkpoint) -> list[str]:
    """The files beside a checkpoint that are copied."""
    return [name for name in COPIED if find(checkpoint.source, name) is not None]


def foreign_tensors(checkpoint: Checkpoint, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The checkpoint under HF's names of today, in the order of our network.

    A tensor that the tables know is kept even where the class has no place for it: other classes may.
    """
    found, static = checkpoint.fit, checkpoint.model.static
    tensors: dict[str, Tensor] = {}
    homes: dict[str, Any] = {**{name: found.sources.get(name) for name in found.wanted}, **found.homeless}
    for ours, parts in homes.items():
        names = hf.foreign_names(checkpoint.architecture, static, ours)
        if parts is not None:
            tensors |= {
                theirs: _cast(checkpoint.tensors[part], dtype)
                for theirs, part in zip(names, parts, strict=True)
                if part is not None
            }
        elif ours not in found.told:  # missing, and nobody need be told: it is zero
            like = found.wanted[ours]
            tensors |= {theirs: torch.zeros(like.shape, dtype=dtype or like.dtype) for theirs in names}
    return dict(_apart(tensors))


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _apart(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The same, but no two share memory: PyTorch's files may hold such, safetensors may not."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        yield name, tensor.clone() if memory in seen else tensor
        seen.add(memory)


def write_flexible_head(checkpoint: Checkpoint, folder: Path, dtype: str | None) -> None:
    """Write a task's head as a flexible one, in AdapterHub's format, if the architecture's flexible class has such."""
    model = zoo.CLASSES[f"{checkpoint.architecture.name}AdapterModel"](checkpoint.config, initialise=False)
    target = model.head_target(checkpoint.model.static, {})
    if target is None or target[0].head_type not in checkpoint.architecture.heads:
        return
    head: Any = target[0]
    own, asked = checkpoint.tensors, None if dtype is None else getattr(torch, dtype)
    values: dict[str, Tensor] = {}
    for name, tensor in head.state_dict().items():
        parts = checkpoint.fit.sources.get("base.token.weight" if name in head.tied else f"head.{name}")
        values[name] = _cast(torch.zeros(tensor.shape) if parts is None else hf.gather(parts, own), asked)
    head.load_state_dict(values, assign=True)
    model.save_head(folder / "heads" / head.name, head.name)
