"""What a model does with adapters in PEFT's format: where their files lie, their names, their heads."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from adapterzoo.archs.base import StaticHead
from adapterzoo.core.labels import by_number, label_names
from adapterzoo.fixed_class import fixed_class
from adapterzoo.formats import peft
from adapterzoo.formats.peft.config import BARE, kind_for
from adapterzoo.formats.peft.heads import head_of, label_count, write_head
from adapterzoo.head_files import HeadFile
from adapterzoo.host import Host
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.store import Source, find, read_json, read_notes, read_tensors, write_json, write_tensors
from adapterzoo.writing import together

logger = logging.getLogger("adapterzoo")


def is_peft(content: Mapping[str, Any]) -> bool:
    """Whether an `adapter_config.json` is PEFT's."""
    return "peft_type" in content


def folder_of(source: Source) -> Source:
    """Where an adapter's files lie: in the directory itself, or in its only folder that PEFT wrote an adapter to.

    Raises:
        ValueError: there are several such folders.
    """
    if not os.path.isdir(source) or (Path(source) / peft.CONFIG).exists():
        return source
    inner = sorted(path.parent for path in Path(source).glob(f"*/{peft.CONFIG}"))
    found = [folder for folder in inner if is_peft(read_json(folder / peft.CONFIG))]
    if len(found) > 1:
        raise ValueError(f"{os.fspath(source)!r} has several adapters: give one of {', '.join(map(str, found))}")
    return found[0] if found else source


def name_of(source: Source) -> str:
    """What an adapter is called, whose files do not say: as its folder or repository is, or "default"."""
    path = os.path.abspath(source) if os.path.isdir(source) else os.fspath(source)
    return os.path.basename(path) or "default"


def read(
    model: Host, source: Source, content: Mapping[str, Any], version: str | None, allow_pickle: bool
) -> tuple[peft.Imported, HeadFile | None]:
    """An adapter's files: the adapter, and the head beside it as a file of HF's class.

    Raises:
        FileNotFoundError: there are no tensors.
        ValueError: they do not fit; every problem is named.
    """
    path = next((path for name in peft.WEIGHTS if (path := find(source, name, version)) is not None), None)
    if path is None:
        raise FileNotFoundError(f"{source!s} has no adapter's tensors: neither {' nor '.join(peft.WEIGHTS)}")
    tensors = read_tensors(path, allow_pickle)
    note = peft.read_note(read_notes(path))
    made = peft.import_adapter(content, tensors, model.architecture, model.base, note)
    static = head_of(content, made.rest, model.architecture, model.static)
    return made, None if static is None else _head_file(model, static, made.rest, note.get("head"))


def _head_file(model: Host, static: StaticHead, tensors: Mapping[str, Tensor], noted: Any) -> HeadFile:
    """A head as a file of HF's class, and what a note says of it."""
    told = noted if isinstance(noted, dict) else None
    count, labels = label_count(static, tensors), None
    if count is not None:
        labels = {number: f"LABEL_{number}" for number in range(count)}
        with suppress(ValueError):
            names = label_names(by_number((told or {}).get("label2id")))
            labels = names if len(names) == count else labels
    return HeadFile(None, model.architecture.class_name(static), None, labels, tensors, settings=told)


def tell_shift(name: str, shift: int) -> None:
    """Tell that PEFT counts positions otherwise."""
    if shift:
        logger.warning(
            "adapter %r: PEFT counts tokens' positions from %d on where it is active; to compute the same, give "
            "position_ids that begin there",
            name,
            shift,
        )


def write(model: Host, directory: Source, name: str, with_head: bool, model_name: str) -> None:
    """Write an adapter, and the head of its name, as PEFT does.

    Raises:
        ValueError: PEFT has nothing that computes the same, or HF has no class with such a head; the message says why.
    """
    folder, adapter, architecture = Path(directory), model.adapters[name], model.architecture
    content = peft.write_config(adapter.config, architecture, model.base.config)
    head = _head_for(model, name) if with_head else None
    static = model.static if head is None else head[0]
    tensors = peft.export_adapter(adapter, architecture, model.base, static is not None)
    if head is not None:
        of_head, said = write_head(*head, content["peft_type"], architecture)
        tensors, content = {**tensors, **of_head}, {**content, **said}
    if content["task_type"] is None:
        content |= _class_entries(model, static, kind_for(adapter.config)[1].is_prompt)
    content["base_model_name_or_path"] = model_name or None
    with together():
        write_tensors(
            folder / peft.WEIGHTS[0],
            tensors,
            notes=peft.write_note(adapter.config, None if head is None else head[1].config),
        )
        write_json(folder / peft.CONFIG, content)


def alike(model: Host, *configs: AdapterConfig) -> bool:
    """Whether configs, however they say it, are the same to PEFT."""
    try:
        first, *others = (peft.write_config(config, model.architecture, model.base.config) for config in configs)
    except ValueError:
        return False
    return all(other == first for other in others)


def _class_entries(model: Host, static: StaticHead | None, is_prompt: bool) -> dict[str, Any]:
    """What stands in place of a task: prompts need one, of others it is told which class they are for."""
    if is_prompt:
        return {"task_type": BARE}
    module = model.architecture.model_type.replace("-", "_")
    library = f"transformers.models.{module}.modeling_{module}"
    names = {"base_model_class": model.architecture.class_name(static), "parent_library": library}
    return {"auto_mapping": names}


def _head_for(model: Host, name: str) -> tuple[StaticHead, Any] | None:
    """The head that belongs to an adapter, and HF's class with such a head."""
    heads = model.heads_of()
    if model.static is not None:
        return model.static, heads["default"]
    if name not in heads:
        return None
    try:
        return fixed_class(model, heads[name]).static, heads[name]  # type: ignore[arg-type]  # heads are such
    except ValueError as error:
        raise ValueError(f"{error}; save the adapter without it: with_head=False") from error
