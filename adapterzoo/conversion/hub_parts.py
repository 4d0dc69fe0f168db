"""AdapterHub's files of heads, fusions and setups, of any version, in the form of today's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo import fusing, head_files
from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.adapter_files import convert_adapter
from adapterzoo.conversion.dtypes import exact_dtype
from adapterzoo.conversion.stand_ins import HINT, stand_ins
from adapterzoo.formats import Content, adapterhub, adapterhub_fusion, read, write
from adapterzoo.formats.lazy import Lazy
from adapterzoo.store import FileError, Source, write_json


def convert_part(
    source: Source,
    folder: Path,
    name: str | None = None,
    base: Source | None = None,
    model_type: str | None = None,
    dtype: torch.dtype | None = None,
) -> str:
    """Write a head, a fusion or a setup as AdapterHub's library does today, as safetensors.

    Args:
        source: its directory, or its repository on the Hub.
        folder: an empty directory.
        name: a head's new name; its own if None. A fixed head becomes a flexible one if it is given one.
        base: the model that it is for; without, the files must tell enough of it.
        model_type: the model's architecture, where the files do not say it and there is no `base`.
        dtype: of the tensors written; as they are if None.

    Returns:
        What it is: "head", "fusion" or "setup".

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it cannot be read, does not fit itself, or is none of these.
    """
    content = read(source)
    if content.kind not in ("head", "fusion", "setup"):
        raise FileError(f"{source!s} holds a {content.kind}, not a head, a fusion or a setup")
    if content.kind == "setup":
        _setup(Path(source), content, folder, base, model_type, dtype)
        return content.kind
    model = _model(content, base, model_type)
    made = _head(content, model, name) if content.kind == "head" else _fusion(content, model)
    write(made, folder, dtype)
    return content.kind


def _setup(
    source: Path, content: Content, folder: Path, base: Source | None, model_type: str | None, dtype: torch.dtype | None
) -> None:
    """A setup, member by member."""
    block, heads = adapterhub_fusion.read_setup_json(content.config)
    write_json(folder / adapterhub_fusion.SETUP, adapterhub_fusion.setup_json(block, heads))
    for path, part in content.parts.items():
        place = source if path == part.kind else source / path
        target = folder if path == part.kind else folder / path
        if part.kind == "adapter":
            convert_adapter(place, target, "adapterhub", None, base, model_type, dtype)
        else:
            model = _model(part, base, model_type)
            write(_head(part, model, None) if part.kind == "head" else _fusion(part, model), target, dtype)


def _model(content: Content, base: Source | None, model_type: str | None) -> Any:
    """The model that a part is for, or one of its sizes."""
    if base is not None:
        return AutoAdapterModel.from_pretrained(base, dtype=exact_dtype(content.tensors))
    told = content.config.get("model_type") or model_type
    if told is None:
        raise FileError(f"the {content.kind}'s files do not say what models it is for; give --model-type, or {HINT}")
    return stand_ins(replace(content, config={**content.config, "model_type": told}), None)[0]


def _head(content: Content, model: Any, name: str | None) -> Content:
    """A head's files of today. What fits no such head is an error."""
    file = head_files.head_file(content.config, content.tensors)
    said = content.config.get("model_name")
    if file.config is None and name is None:
        static = head_files.static_of(file, model.architecture)
        unknown = [key for key in content.tensors if static is None or static[1].keymap.to_ours(key) is None]
        if unknown:
            raise FileError(f"no table of {file.model_class}'s head knows {', '.join(sorted(unknown))}")
        return replace(content, config={**content.config, "version": adapterhub.VERSION})
    called = str(name or file.name)
    head = head_files.flexible_head(model, file, called)
    makers: dict[str, Callable[[], Tensor]] = {
        f"heads.{called}.{key}": partial(head.state_dict().__getitem__, key)
        for key, tensor in head.state_dict().items()
        if key not in head_files.OPTIONAL or bool(tensor.any())
    }
    stem = f"heads.{file.name}."
    makers |= {  # as they are, and those that are the model's, too
        f"heads.{called}.{key.removeprefix(stem)}": partial(content.tensors.__getitem__, key)
        for key in content.tensors
        if file.config is not None and key.startswith(stem)
    }
    told = {**head_files.common_entries(model, said or ""), "config": head.config, "name": called}
    tensors = Lazy(makers)
    if not all(bool(tensors[key].isfinite().all()) for key in tensors if tensors[key].is_floating_point()):
        raise ValueError(f"the head {called!r} shares weights with the model; {HINT}")
    return Content("head", "adapterhub", {**told, "version": adapterhub.VERSION}, tensors)


def _fusion(content: Content, model: Any) -> Content:
    """A fusion's files of today. What fits no such fusion is an error."""
    fusing.made_of(model, content.config, content.tensors, {})
    file = adapterhub_fusion.read_fusion_json(content.config, model.architecture, model.base.config.width)
    told = {"adapter_names": list(file.adapters), "config": file.config.to_dict(), "version": adapterhub.VERSION}
    return replace(content, config={**content.config, **told})
