"""Heads in files: a flexible head's, and a fixed head's as it is or made flexible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adapterzoo.archs.base import ARCHITECTURES, Architecture, StaticHead
from adapterzoo.formats import adapterhub
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.make import make_head
from adapterzoo.store import Source, find, read_json, read_tensors, require, write_json, write_tensors

OPTIONAL = ("final_logits_bias",)
"""Tensors that are zero if a file does not hold them, and that are written only if they are not zero."""


@dataclass(frozen=True)
class HeadFile:
    """A head's files, read.

    Attributes:
        name: the head's name; None for a fixed head.
        model_class: the class of the model it was saved from.
        config: a flexible head's config; None for a fixed head.
        labels: names of labels by number.
        tensors: the tensors.
    """

    name: str | None
    model_class: str
    config: dict[str, Any] | None
    labels: dict[int, str] | None
    tensors: Mapping[str, Tensor]


def read_head(source: Source, allow_pickle: bool, revision: str | None = None) -> HeadFile:
    """A head's files.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: they cannot be read.
    """
    content = read_json(require(source, adapterhub.HEAD_CONFIG, revision))
    for name in adapterhub.HEAD_WEIGHTS:
        path = find(source, name, revision)
        if path is not None:
            break
    else:
        raise FileNotFoundError(f"{source!s} has no head's tensors: neither {' nor '.join(adapterhub.HEAD_WEIGHTS)}")
    config = content.get("config")
    labels = (config or content).get("label2id")
    return HeadFile(
        content.get("name"),
        str(content.get("model_class")),
        config,
        None if labels is None else {int(number): name for name, number in labels.items()},
        read_tensors(path, allow_pickle),
    )


def has_head(source: Source, revision: str | None = None) -> bool:
    """Whether a head lies there."""
    return find(source, adapterhub.HEAD_CONFIG, revision) is not None


def static_of(file: HeadFile) -> tuple[Architecture, StaticHead] | None:
    """The class with a fixed head that a head was saved from, if it is one of ours."""
    for architecture in ARCHITECTURES.values():
        static = architecture.static(file.model_class)
        if static is not None:
            return architecture, static
    return None


def fill_flexible(head: PredictionHead, file: HeadFile) -> None:
    """Give a flexible head the tensors of a flexible head's file.

    Raises:
        ValueError: tensors are missing, not known or of another shape; all are named.
    """
    stem = f"heads.{file.name}."
    found = {key.removeprefix(stem): tensor for key, tensor in _only(file, stem).items()}
    fill(head, found, f"head {file.name!r}")


def flexible_head(
    model: Any,
    file: HeadFile,
    name: str,
    custom: Mapping[str, type[PredictionHead]],
    id2label: Mapping[int, str] | None = None,
) -> PredictionHead:
    """A flexible head with a file's tensors; a fixed head's file is made flexible.

    Args:
        model: what it is for.
        file: the head's files.
        name: the name to give it.
        custom: head types beside the built-in ones.
        id2label: names of its labels, in place of the file's.

    Raises:
        ValueError: it does not fit, or its class has no table.
    """
    if file.config is not None:
        labels = {} if id2label is None else {"label2id": {label: number for number, label in id2label.items()}}
        head = make_head(model, name, {**file.config, **labels}, custom)
        fill_flexible(head, file)
        return head
    found = static_of(file)
    if found is None:
        raise ValueError(f"no table makes a flexible head of {file.model_class}'s")
    names = id2label or file.labels or model.config.id2label
    config = found[1].flexible(type(model.config)(**{**model.config.to_dict(), "id2label": names}))
    head = make_head(model, name, config)
    fill_from_static(head, file, found[1])
    return head


def _only(file: HeadFile, stem: str) -> dict[str, Tensor]:
    """The tensors under `stem`: the peer's files may hold another head's, whose name begins alike."""
    return {key: file.tensors[key] for key in file.tensors if key.startswith(stem)}


def fill_from_static(head: PredictionHead, file: HeadFile, static: StaticHead) -> None:
    """Give a flexible head, or a fixed one, the tensors of a fixed head's file.

    Raises:
        ValueError: tensors are missing, not known or of another shape; all are named.
    """
    found: dict[str, Tensor] = {}
    later: dict[str, Tensor] = {}
    for key in file.tensors:
        target = static.keymap.to_ours(key)
        if target is None:
            raise ValueError(f"the head of {file.model_class} has no tensor {key!r}")
        (later if target.alias else found)[target.ours] = file.tensors[key]
    fill(head, {**later, **found}, f"head of {file.model_class}")


def fill(head: PredictionHead, found: dict[str, Tensor], what: str) -> None:
    """Give a head its tensors, all at once or not at all."""
    state, problems = head.state_dict(), []
    for name, tensor in state.items():
        if name in head.tied or (name not in found and name in OPTIONAL):
            found[name] = tensor
        elif name not in found:
            problems.append(f"{name} is not there")
        elif found[name].shape != tensor.shape:
            problems.append(f"{name} has shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}")
    problems += [f"{name} has no place here" for name in found if name not in state]
    if problems:
        raise ValueError(f"the {what} does not fit: " + "; ".join(sorted(problems)))
    head.load_state_dict(found)


def write_flexible(directory: Source, head: PredictionHead, name: str, common: dict[str, Any]) -> None:
    """Write a flexible head in AdapterHub's format."""
    tensors = {
        f"heads.{name}.{key}": tensor.clone()
        for key, tensor in head.state_dict().items()
        if key not in OPTIONAL or bool(tensor.any())
    }
    write_tensors(Path(directory) / adapterhub.HEAD_WEIGHTS[0], tensors)
    content = {**common, "config": head.config, "name": name, "version": adapterhub.VERSION}
    write_json(Path(directory) / adapterhub.HEAD_CONFIG, content)


def write_static(
    directory: Source,
    head: PredictionHead,
    static: StaticHead,
    labels: Mapping[str, int],
    common: dict[str, Any],
) -> None:
    """Write a fixed head in AdapterHub's format, its tensors under HF's names."""
    tensors = {}
    for key, tensor in head.state_dict().items():
        names = static.keymap.to_theirs(key)
        assert names is not None
        tensors[names[0]] = tensor.clone()
    write_tensors(Path(directory) / adapterhub.HEAD_WEIGHTS[0], tensors)
    more = {"config": None, "name": None, "label2id": dict(labels), "num_labels": len(labels)}
    write_json(Path(directory) / adapterhub.HEAD_CONFIG, {**common, **more, "version": adapterhub.VERSION})


def common_entries(model: Any, model_name: str) -> dict[str, Any]:
    """The entries that every head_config.json has."""
    return {
        "hidden_size": model.base.config.width,
        "model_class": type(model).__name__,
        "model_name": model_name,
        "model_type": model.architecture.model_type,
    }


def mismatch(file: HeadFile, class_name: str) -> str:
    """The message for a fixed head of another class."""
    return f"the head was saved from {file.model_class}; {class_name} takes only its own. A flexible model takes either"
