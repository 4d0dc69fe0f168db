"""What a head's directory holds. The model it is for need not be there: only names are compared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from adapterzoo import head_files, zoo
from adapterzoo.archs import ARCHITECTURES, Architecture, ModelConfig, StaticHead
from adapterzoo.conversion import written_by
from adapterzoo.conversion.facts import labels, misplaced, tensor_row, weights
from adapterzoo.conversion.unheard import unheard
from adapterzoo.core.blank import blank
from adapterzoo.core.registry import NamedModules
from adapterzoo.formats import adapterhub
from adapterzoo.heads.base import HEADS, PredictionHead
from adapterzoo.heads.lm import LMHead
from adapterzoo.heads.make import make_head
from adapterzoo.store import Source, read_json, require


def head_facts(source: Source, allow_pickle: bool = False) -> dict[str, Any]:
    """What a head's directory holds.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: they cannot be read.
    """
    file = head_files.read_head(source, allow_pickle)
    told = head_content(read_json(require(source, adapterhub.HEAD_CONFIG)), file)
    return {"kind": "head", "format": "adapterhub", "source": os.fspath(source), **told}


def head_content(
    content: Mapping[str, Any], file: head_files.HeadFile, config: ModelConfig | None = None
) -> dict[str, Any]:
    """What a head's JSON and its tensors tell.

    Args:
        content: what the JSON holds.
        file: both.
        config: of the model that it is for, as far as that is known. Without, it may be one whose token embedding is
            the weight of a head that scores words.
    """
    found, unexpected = _names(file)
    missing, problems = _missing(file, set(found.values()), config)
    return {
        "architecture": content.get("model_type"),
        "name": file.name,
        "type": (file.config or {}).get("head_type") or file.model_class,
        **written_by.origin(content),
        **labels(None if file.labels is None else {name: number for number, name in file.labels.items()}),
        **weights(file.tensors, found),
        "tensors": [tensor_row(file.tensors, key, ours) for key, ours in found.items()],
        "unused": [],
        "unexpected": sorted(unexpected),
        "missing": missing,
        "problems": sorted([*problems, *misplaced(unexpected, missing)]),
    }


def _names(file: head_files.HeadFile) -> tuple[dict[str, str], list[str]]:
    """Our names by theirs, and theirs that no table knows. A flexible head's files have our names already."""
    static = head_files.static_of(file) if file.config is None else None
    found, unexpected = {}, []
    for key in file.tensors:
        target = static[1].keymap.to_ours(key) if static is not None else None
        if target is not None:
            found[key] = f"head.{target.ours}"
        elif static is None and file.name is not None and key.startswith(stem := f"heads.{file.name}."):
            found[key] = f"heads.{NamedModules.slug(file.name)}.{key.removeprefix(stem)}"
        else:
            unexpected.append(key)
    return found, unexpected


def _missing(
    file: head_files.HeadFile, there: set[str], model_config: ModelConfig | None
) -> tuple[list[str], list[str]]:
    """Their names of a head's tensors that are not there, and why no such head can be made, in words."""
    static = head_files.static_of(file) if file.config is None else None
    if static is None and (file.config or {}).get("head_type") not in HEADS:
        return [], []  # one of somebody's own class: what it has is known to nobody here
    try:
        head = _made(file, static, model_config)
    except ValueError as error:
        return [], [str(error)]
    spare = {*head.tied, *head_files.OPTIONAL}
    if model_config is None and isinstance(head, LMHead):
        spare.add(f"{len(head.stack()) - 1}.weight")
    needed = [name for name in head.state_dict() if name not in spare]
    if static is None:
        stem = f"heads.{NamedModules.slug(str(file.name))}."
        return [f"heads.{file.name}.{name}" for name in needed if stem + name not in there], []
    lost = [static[1].keymap.to_theirs(name) for name in needed if f"head.{name}" not in there]
    return [name for names in lost for name in names or ()], []


def _made(
    file: head_files.HeadFile, static: tuple[Architecture, StaticHead] | None, model_config: ModelConfig | None
) -> PredictionHead:
    """A head of such tensors, without values, for a model of the usual size; of any architecture, if it names none."""
    said = file.made_for.get("model_type")
    architecture = static[0] if static else ARCHITECTURES[next(iter(ARCHITECTURES)) if said is None else said]
    kind: Any = zoo.CLASSES[f"{architecture.name}AdapterModel"]
    model = kind(model_config or architecture.config(), initialise=False)
    config = static[1].flexible(model.config) if static else file.config
    with blank(), unheard():
        return make_head(model, str(file.name), config or {})
