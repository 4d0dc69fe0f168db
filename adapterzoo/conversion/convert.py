"""A checkpoint of any of the known shapes as safetensors under HF's names, a task's head beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo import zoo
from adapterzoo.adapting import model_name
from adapterzoo.conversion.checkpoint import Checkpoint
from adapterzoo.conversion.inspection import kept
from adapterzoo.conversion.output import Output
from adapterzoo.core.registry import NamedModules
from adapterzoo.formats import Content, adapterhub, hf
from adapterzoo.formats.lazy import Lazy
from adapterzoo.head_files import OPTIONAL, common_entries
from adapterzoo.pretrained import KINDS


def as_it_is(checkpoint: Checkpoint) -> Output:
    """The same class anew, of a checkpoint that `Checkpoint.check` found whole.

    A task's head is there twice: among the weights, from where classes with fixed and with flexible heads take it, and
    in AdapterHub's format in a folder, for `load_head` of any other model.
    """
    beside = parts_of(checkpoint)
    head = flexible_head(checkpoint)
    if head is not None and head.config["config"]["head_type"] in checkpoint.architecture.heads:
        beside[folder_of(head)] = head
    class_name = checkpoint.architecture.class_name(checkpoint.model.static)
    return Output(checkpoint.source, checkpoint.model.config, class_name, foreign(checkpoint), beside)


def parts_of(checkpoint: Checkpoint) -> dict[str, Path | Content]:
    """What `save_pretrained` wrote beside a model, by its folders."""
    folders = {kind: map(Path, kept(checkpoint, kind)) for kind in KINDS}
    return {f"{kind}/{folder.name}": folder for kind, several in folders.items() for folder in several}


def folder_of(head: Content) -> str:
    """The folder of a flexible head."""
    return f"heads/{NamedModules.slug(head.config['name'])}"


def foreign(checkpoint: Checkpoint, prefix: str = "") -> Lazy:
    """A checkpoint's tensors under HF's names of today, in the order of our network.

    A tensor that the tables know is kept even where the class has no place for it: other classes may. What is missing,
    and nobody need be told, is zero.

    Args:
        checkpoint: the checkpoint.
        prefix: what stands before the names.
    """
    found, static = checkpoint.fit, checkpoint.model.static
    makers: dict[str, Callable[[], Tensor]] = {}
    homes: dict[str, Any] = {**{name: found.sources.get(name) for name in found.wanted}, **found.homeless}
    for ours, parts in homes.items():
        names = hf.foreign_names(checkpoint.architecture, static, ours)
        if parts is not None:
            pairs = zip(names, parts, strict=True)
            makers |= {
                prefix + theirs: partial(checkpoint.tensors.__getitem__, part)
                for theirs, part in pairs
                if part is not None
            }
        elif ours not in found.told:
            makers |= {prefix + theirs: partial(_zeros, found.wanted[ours]) for theirs in names}
    return Lazy(makers)


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=like.dtype)


def flexible_head(checkpoint: Checkpoint, every: bool = False, name: str | None = None) -> Content | None:
    """A checkpoint's fixed head as a flexible one, in AdapterHub's format; None where there is none to make.

    Args:
        checkpoint: the checkpoint.
        every: whether a head of pretraining becomes one, too.
        name: the head's name; "default" if None, or what it was called as long as it was flexible.
    """
    model = zoo.CLASSES[f"{checkpoint.architecture.name}AdapterModel"](checkpoint.model.config, initialise=False)
    target = model.head_target(checkpoint.model.static, {"convert_head": True} if every else {})
    if target is None:
        return None
    head: Any = target[0]
    makers: dict[str, Callable[[], Tensor]] = {}
    for key, tensor in head.state_dict().items():
        parts = checkpoint.fit.sources.get("base.token.weight" if key in head.tied else f"head.{key}")
        make = partial(_zeros, tensor) if parts is None else partial(hf.gather, parts, checkpoint.tensors)
        if key not in OPTIONAL or bool(make().any()):
            makers[f"heads.{name or head.name}.{key}"] = make
    common = common_entries(model, model_name(model))
    told = {**common, "config": head.config, "name": name or head.name, "version": adapterhub.VERSION}
    return Content("head", "adapterhub", told, Lazy(makers))
