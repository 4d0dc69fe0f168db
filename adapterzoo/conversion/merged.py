"""Adapters folded into a checkpoint, which then is a plain one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.output import copy_beside
from adapterzoo.core.compose import Stack
from adapterzoo.store import Source

STEPS = 4
"""How often `merge` calls `step`."""


def merge(
    base: Source,
    adapters: Sequence[Source],
    folder: Path,
    step: Callable[[str], object],
    dtype: torch.dtype | None = None,
    with_head: bool = True,
) -> str:
    """Write a checkpoint with adapters folded into its weights, as a stack of them would act: the last one last.

    Args:
        base: the model's directory, or its repository on the Hub.
        adapters: the adapters' directories or repositories.
        folder: an empty directory.
        step: is told what is done.
        dtype: of the weights; those of the checkpoint if None.
        with_head: whether the head beside an adapter becomes the checkpoint's.

    Returns:
        The class of HF's that the checkpoint is: with the last adapter's head, or the checkpoint's own, where there is
        a class with such a head; else the bare one.

    Raises:
        FileNotFoundError: a model or adapter is not there.
        ValueError: one does not fit, or cannot be folded into weights; the message says why.
    """
    step("reading the model")
    model = AutoAdapterModel.from_pretrained(base, dtype="auto", convert_head=True)
    step("reading adapters")
    names = [
        model.load_adapter(adapter, load_as=f"{number}", with_head=with_head, allow_pickle=False)
        for number, adapter in enumerate(adapters)
    ]
    step("merging")
    model.merge_and_unload(Stack(*names))
    step("writing")
    whole = _whole(model, names)
    if dtype is not None:
        whole.to(dtype)
    whole.save_pretrained(folder)
    copy_beside(base, folder)
    return type(whole).__name__


def _whole(model: Any, names: Sequence[str]) -> Any:
    """The model as one of HF's classes, with the head that comes last."""
    for head in [*reversed(names), "default"]:
        if head in model.heads_of():
            return model.to_static(head)
    return model
