"""Heads in files: a flexible head's, and a fixed head's as it is or made flexible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo.archs.base import ARCHITECTURES, Architecture, StaticHead
from adapterzoo.core.blank import blank, give
from adapterzoo.core.labels import by_number, label_names
from adapterzoo.core.misfit import misfit
from adapterzoo.fixed_class import fixed_class
from adapterzoo.formats import adapterhub
from adapterzoo.heads.base import HEADS, PredictionHead
from adapterzoo.heads.make import make_head
from adapterzoo.store import FileError, Source, find, read_json, read_tensors, require, write_json, write_tensors
from adapterzoo.writing import together

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
        made_for: the model's `model_type` and `hidden_size`, as far as the file states them.
        settings: of a fixed head's file, the config of the flexible head that it was written from, where it says so.
    """

    name: str | None
    model_class: str
    config: dict[str, Any] | None
    labels: dict[int, str] | None
    tensors: Mapping[str, Tensor]
    made_for: Mapping[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] | None = None

    def check_for(self, model: Any) -> None:
        """Check that it was made for such a model.

        Raises:
            ValueError: it was not.
        """
        own = common_entries(model, "")
        problems = [
            f"its {key} is {made!r}, but the model's is {own[key]!r}"
            for key, made in self.made_for.items()
            if made not in (None, own[key])
        ]
        if problems:
            raise ValueError("the head does not fit: " + "; ".join(problems))


def read_head(source: Source, allow_pickle: bool, revision: str | None = None) -> HeadFile:
    """A head's files.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: they cannot be read.
    """
    path = require(source, adapterhub.HEAD_CONFIG, revision)
    content = read_json(path)
    problems = list(_wrong(content))
    if problems:
        raise FileError(f"{path}: " + "; ".join(problems))
    return head_file(content, read_tensors(head_weights(source, revision), allow_pickle))


def head_file(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> HeadFile:
    """A head's files, whose contents are these.

    Raises:
        ValueError: what `head_config.json` holds is not what it should be.
    """
    problems = list(_wrong(content))
    if problems:
        raise ValueError(f"the head {content.get('name')!r}: " + "; ".join(problems))
    config, labels = content.get("config"), _labels(content)
    made_for = {key: content.get(key) for key in ("model_type", "hidden_size")}
    named = None if labels is None else label_names(by_number(labels))
    return HeadFile(content.get("name"), str(content.get("model_class")), config, named, tensors, made_for)


def _labels(content: Mapping[str, Any]) -> Any:
    config = content.get("config")
    return (config if isinstance(config, dict) else content).get("label2id")


def _wrong(content: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a `head_config.json`, in words."""
    config, name, labels = content.get("config"), content.get("name"), _labels(content)
    if config is not None and not isinstance(config, dict):
        yield f"config is {config!r}, not fields and values"
    if name is not None and not (isinstance(name, str) and name):
        yield f"name is {name!r}, not a string"
    if config is None and not isinstance(content.get("model_class"), str):
        yield "there is neither a config nor a model_class that is a string"
    try:
        label_names(by_number({} if labels is None else labels))
    except ValueError as error:
        yield str(error)


def head_weights(source: Source, revision: str | None = None) -> Path:
    """The file of a head's tensors.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in adapterhub.HEAD_WEIGHTS:
        path = find(source, name, revision)
        if path is not None:
            return path
    raise FileNotFoundError(f"{source!s} has no head's tensors: neither {' nor '.join(adapterhub.HEAD_WEIGHTS)}")


def has_head(source: Source, revision: str | None = None) -> bool:
    """Whether a head lies there."""
    return find(source, adapterhub.HEAD_CONFIG, revision) is not None


def static_of(file: HeadFile, own: Architecture | None = None) -> tuple[Architecture, StaticHead] | None:
    """The class with a fixed head that a head was saved from, if it is one of ours; `own` is looked at first."""
    for architecture in (*(() if own is None else (own,)), *ARCHITECTURES.values()):
        static = architecture.static(file.model_class)
        if static is not None:
            kinds = (static, *static.unless.values())
            return architecture, next((kind for kind in kinds if all(map(kind.keymap.to_ours, file.tensors))), static)
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
    id2label: Mapping[int, str] | None = None,
) -> PredictionHead:
    """A flexible head with a file's tensors; a fixed head's file is made flexible.

    Args:
        model: what it is for.
        file: the head's files.
        name: the name to give it.
        id2label: names of its labels, in place of the file's.

    Raises:
        ValueError: it does not fit, or its class has no table.
    """
    file.check_for(model)
    dtype = model.base.token.weight.dtype
    if file.config is not None:
        named = {key: value for key, value in file.config.items() if id2label is None or key != "label2id"}
        # A custom head's class may compute what it likes when it is made; of the others it is known that they do not.
        with blank() if named.get("head_type") in HEADS else nullcontext():
            head = make_head(model, name, named if id2label is None else {**named, "id2label": id2label})
        fill_flexible(head.to(dtype=dtype), file)
        return head
    found = static_of(file, model.architecture)
    if found is None:
        raise ValueError(f"no table makes a flexible head of {file.model_class}'s")
    names = id2label or file.labels or model.config.id2label
    config = found[1].flexible(type(model.config)(**{**model.config.to_dict(), "id2label": names}))
    with blank():
        head = make_head(model, name, config)
        head = _as_it_was(model, head, file, given=() if id2label is None else ("label2id",))
    fill_from_static(head.to(dtype=dtype), file, found[1])
    return head


def _as_it_was(model: Any, head: PredictionHead, file: HeadFile, given: Iterable[str]) -> PredictionHead:
    """The head with the settings that a file tells, but for given ones, if its class has such a head, too."""
    settings = {**(file.settings or {}), **{key: head.config[key] for key in given if key in head.config}}
    if settings.get("head_type") not in HEADS:
        return head
    try:
        made = make_head(model, head.name, settings)
        fixed_class(model, made, file.model_class)
    except ValueError:
        return head
    shapes = [{name: tensor.shape for name, tensor in one.state_dict().items()} for one in (head, made)]
    return made if shapes[0] == shapes[1] else head


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
    unknown: list[str] = []
    for key in file.tensors:
        target = static.keymap.to_ours(key)
        if target is None:
            unknown.append(key)
        else:
            (later if target.alias else found)[target.ours] = file.tensors[key]
    fill(head, {**later, **found}, f"head of {file.model_class}", unknown)


def fill(head: PredictionHead, found: dict[str, Tensor], what: str, unknown: Iterable[str] = ()) -> None:
    """Give a head its tensors, all at once or not at all; but for those that it shares with the model."""
    state, problems = head.state_dict(), [f"{name} has no place here" for name in unknown]
    for name, tensor in state.items():
        if name in head.tied:
            found.pop(name, None)
        elif name not in found and name in OPTIONAL:
            found[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        elif name not in found:
            problems.append(f"{name} is not there")
        elif wrong := misfit(found[name], tensor.shape, tensor.is_floating_point()):
            problems.append(f"{name} {wrong}")
    problems += [f"{name} has no place here" for name in found if name not in state]
    if problems:
        raise ValueError(f"the {what} does not fit: " + "; ".join(sorted(problems)))
    give(head, found, torch.device("cpu"))


def write_flexible(directory: Source, head: PredictionHead, name: str, common: dict[str, Any]) -> None:
    """Write a flexible head in AdapterHub's format."""
    tensors = {
        f"heads.{name}.{key}": tensor.clone()
        for key, tensor in head.state_dict().items()
        if key not in OPTIONAL or bool(tensor.any())
    }
    _write(directory, tensors, {**common, "config": head.config, "name": name})


def write_static(
    directory: Source,
    head: PredictionHead,
    static: StaticHead,
    labels: Mapping[str, int],
    common: dict[str, Any],
) -> None:
    """Write a fixed head in AdapterHub's format, its tensors under HF's names."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in head.state_dict().items():
        names = static.keymap.to_theirs(key)
        assert names is not None
        # The peer's flexible heads know a vocabulary's bias by its second name alone.
        tensors |= {name: tensor.clone() for name in (*names, *static.keymap.aliases(key))}
    more = {"config": None, "name": None, "label2id": dict(labels), "num_labels": len(labels)}
    _write(directory, tensors, {**common, **more})


def _write(directory: Source, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    with together():
        write_tensors(Path(directory) / adapterhub.HEAD_WEIGHTS[0], tensors)
        write_json(Path(directory) / adapterhub.HEAD_CONFIG, {**content, "version": adapterhub.VERSION})


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
