"""Adapters folded into a checkpoint, which then is a plain one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.conversion.dtypes import exact_dtype, kept_dtype
from adapterzoo.conversion.output import copy_beside
from adapterzoo.conversion.verified import Run, Verified, model_of, tolerance_for, verified
from adapterzoo.core.compose import Stack
from adapterzoo.formats import hf, read
from adapterzoo.peft_files import folder_of
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

    It is computed in float32, or in float64 if a file holds such, and rounded once, at the end.

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
    step("reading adapters")
    held = hf.open_checkpoint(base, kept=False)
    exact = exact_dtype(held, *(read(folder_of(adapter)).tensors for adapter in adapters))
    model, names = stacked(base, adapters, with_head, exact)
    step("merging")
    model.merge_and_unload(Stack(*names))
    step("writing")
    head = _last_head(model, names)
    whole = model if head is None else model.to_static(head)
    whole.to(dtype or kept_dtype(held))
    whole.save_pretrained(folder)
    copy_beside(base, folder)
    return type(whole).__name__


def stacked(
    base: Source, adapters: Sequence[Source], with_head: bool, dtype: torch.dtype | None = None
) -> tuple[Any, list[str]]:
    """A model with adapters that are not merged, and their names there, in the order of a stack.

    Args:
        base, adapters, with_head: see `merge`.
        dtype: of the model's weights; see `Model.from_pretrained`.
    """
    model = AutoAdapterModel.from_pretrained(base, dtype=dtype, convert_head=True)
    names = [
        model.load_adapter(adapter, load_as=f"{number}", with_head=with_head, allow_pickle=False)
        for number, adapter in enumerate(adapters)
    ]
    return model, names


def verified_merge(
    base: Source, adapters: Sequence[Source], folder: Path, with_head: bool, tolerance: float | None
) -> Verified:
    """Compare what `merge` wrote with a stack of the adapters.

    Args:
        base, adapters, folder, with_head: see `merge`.
        tolerance: absolute difference that is none; by the dtype of what was written if None, for merging rounds.
    """
    model, names = stacked(base, adapters, with_head)
    checkpoint = open_checkpoint(folder)
    made = model_of(checkpoint)
    dtype = kept_dtype(checkpoint.tensors)
    run = Run("", (Stack(*names), None), (_last_head(model, names), None))
    return verified(model, made, tolerance_for(made, dtype, tolerance), [run])


def _last_head(model: Any, names: Sequence[str]) -> str | None:
    """The head that comes last, which becomes the checkpoint's: an adapter's, or the checkpoint's own."""
    return next((head for head in [*reversed(names), "default"] if head in model.heads_of()), None)
