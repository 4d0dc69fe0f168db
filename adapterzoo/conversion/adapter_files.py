"""An adapter's files in another format, without the model that the adapter is for, as far as that goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from adapterzoo import peft_files, zoo
from adapterzoo.adapting import FORMATS
from adapterzoo.archs import Architecture
from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.conversion.dtypes import exact_dtype, kept_dtype
from adapterzoo.conversion.stand_ins import HINT, only, stand_ins, taken
from adapterzoo.core.registry import unknown
from adapterzoo.formats import Content, peft, read
from adapterzoo.formats.peft.config import BARE, base_class
from adapterzoo.formats.peft.heads import TASKS
from adapterzoo.host import Host
from adapterzoo.store import FileError, Source


def convert_adapter(
    source: Source,
    folder: Path,
    to: str,
    name: str | None = None,
    base: Source | None = None,
    model_type: str | None = None,
    dtype: torch.dtype | None = None,
    with_head: bool = True,
) -> str:
    """Write an adapter, and the head beside it, in a format of today.

    Args:
        source: the adapter's directory, or its repository on the Hub.
        folder: an empty directory.
        to: "adapterhub" or "peft".
        name: the adapter's new name; its own if None.
        base: the model that it is for. Without, its sizes are taken from the tensors' names and shapes.
        model_type: the model's architecture, where the files do not say it and there is no `base`.
        dtype: of the tensors written; as they are if None.
        with_head: whether the head beside it goes along.

    Returns:
        The adapter's name.

    Raises:
        FileNotFoundError: there is no such adapter.
        ValueError: it cannot be read, or the format has nothing that computes the same, or what it would need of the
            model is not known without it; the message says what.
    """
    if to not in FORMATS:
        raise ValueError(unknown("format of adapters", to, FORMATS))
    content = read(peft_files.folder_of(source))
    if content.kind != "adapter":
        raise FileError(f"{os.fspath(source)!r} holds a {content.kind}, not an adapter")
    exact = exact_dtype(content.tensors)
    models = stand_ins(content, model_type) if base is None else [AutoAdapterModel.from_pretrained(base, dtype=exact)]
    model, found = only(taken(models, source, name, allow_pickle=False), source)
    said = content.config.get("model_name") or content.config.get("base_model_name_or_path")
    if found not in model.heads_of():
        model, with_head = _in_its_class(model, found, content, base), False
    model.config.extra["_name_or_path"] = said or ""
    kept = kept_dtype(content.tensors)
    model.adapters[found].to(dtype or kept)
    for head in model.heads_of().values() if with_head else ():
        head.to(dtype or kept)
    if base is None:
        check = _check_heads_and_values if to == "peft" else _check_layers
        check(model, found, content)
    model.save_adapter(folder, found, with_head=with_head, to=to)
    return found


def _in_its_class(model: Any, name: str, content: Content, base: Source | None) -> Any:
    """A model with an adapter that has no head, as the class that the adapter was trained in: its name goes along.

    It is the class that the adapter's files tell, by its name or its task; the base's if they tell none.
    """
    architecture: Architecture = model.architecture
    known = {architecture.class_name(static): static for static in architecture.classes}
    tasks = {kind: BARE if static is None else TASKS.get(static.head_type, "") for kind, static in known.items()}
    said = content.config
    of_task = [kind for kind, task in tasks.items() if task == said.get("task_type")]
    told = [said.get("model_class"), base_class(said), *of_task[:1]]
    if base is not None:
        told.append(open_checkpoint(base).class_name)
    found = next((kind for one in told for kind in known if kind == one), None)
    static = None if found is None else known[found]
    lone = None not in architecture.classes  # of whose one class PEFT's names are, with a head or without
    if static is None or lone or static.decoder_only != model.base.config.alone:
        return model
    host: Any = zoo.CLASSES[str(found)](model.config, initialise=False)
    host.base = model.base
    host.adapters.put(name, model.adapters[name])
    return host


def _check_layers(model: Host, name: str, content: Content) -> None:
    """Make sure that AdapterHub's file will not name layers to leave out of a model that may have more of them."""
    left_out = model.adapters[name].config.left_out
    if left_out and content.format != "adapterhub":
        raise ValueError(f"the adapter is for some layers alone, and how many the model has is not known; {HINT}")


def _check_heads_and_values(model: Host, name: str, content: Content) -> None:
    """Make sure that PEFT's file will not hold what was but guessed of a model, or what there is no value for.

    Args:
        model: the stand-in for it.
        name: the adapter's name there.
        content: the adapter's files.
    """
    adapter, architecture, network = model.adapters[name], model.architecture, model.base
    heads = peft.write_config(adapter.config, architecture, network.config).get("num_attention_heads")
    if heads != content.config.get("num_attention_heads"):
        raise ValueError(f"PEFT's file says how many attention heads the model has, which is not known; {HINT}")
    values = peft.export_adapter(adapter, architecture, network, prefixed=False)
    if not all(bool(value.isfinite().all()) for value in values.values()):
        raise ValueError(f"PEFT's file holds sums of the adapter's and the model's own values; {HINT}")
