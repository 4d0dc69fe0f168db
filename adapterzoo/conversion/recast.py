"""A checkpoint as one of another class, tensor by tensor: a fixed head made flexible, a flexible one fixed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from adapterzoo import zoo
from adapterzoo.archs import ModelConfig
from adapterzoo.conversion.checkpoint import Checkpoint
from adapterzoo.conversion.convert import as_it_is, flexible_head, folder_of, foreign, parts_of
from adapterzoo.conversion.output import Output
from adapterzoo.core.blank import blank
from adapterzoo.core.registry import NamedModules, UnknownName, listing, unknown
from adapterzoo.fit import fit
from adapterzoo.fixed_class import fixed_class
from adapterzoo.formats import Content, hf, read
from adapterzoo.formats.lazy import Lazy
from adapterzoo.head_files import head_file
from adapterzoo.heads.make import make_head
from adapterzoo.pretrained import STATE, kept_folder, kept_names

_NOT_FIXED = ("heads", "active_head", "embeddings", "active_embeddings")


def to_flexible(checkpoint: Checkpoint, name: str | None = None) -> Output:
    """The same with its fixed head as a flexible one, which is active; as it is where it has none.

    Args:
        checkpoint: a checkpoint that `Checkpoint.check` found whole.
        name: the head's name; as for `flexible_head` if None.

    Raises:
        ValueError: the class has no fixed head, and a name is given; or the name is taken.
    """
    static = checkpoint.model.static
    if static is None:
        if name is not None:
            raise ValueError(f"{checkpoint.class_name} has no fixed head that could be called {name!r}")
        return as_it_is(checkpoint)
    head = flexible_head(checkpoint, every=True, name=name)
    assert head is not None, "there is a fixed head"
    called, state = head.config["name"], _state(checkpoint.config)
    others = kept_names(state, checkpoint.source)["heads"]
    if called in others:
        raise ValueError(
            f"there is already a head {called!r} beside the model; --head gives the fixed one another name"
        )
    state = {"active_adapters": None, "skip_layers": [], "adapters": [], **state, "heads": [called, *others]}
    state["active_head"] = state.get("active_head") or called
    config = _with_state(checkpoint.model.config, {key: value for key, value in state.items() if key != "fixed_head"})
    flexible = bare(checkpoint)
    flexible.check(drop=("*",))
    beside = {**parts_of(checkpoint), folder_of(head): head}
    return Output(checkpoint.source, config, checkpoint.architecture.class_name(), foreign(flexible), beside)


def bare(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint's network, as the class with flexible heads has it."""
    model = zoo.CLASSES[f"{checkpoint.architecture.name}AdapterModel"](checkpoint.model.config, initialise=False)
    return replace(checkpoint, model=model, fit=fit(model, None, checkpoint.tensors))


def to_fixed(checkpoint: Checkpoint, head: str | None = None, class_name: str | None = None) -> Output:
    """The same with a flexible head as the fixed one of HF's class that has such; as it is where it has none.

    Other heads, and the adapters, go along in folders; embeddings stay behind.

    Args:
        checkpoint: a checkpoint that `Checkpoint.check` found whole.
        head: the flexible head; the only one if None.
        class_name: HF's class; the one that the head fits if None.

    Raises:
        UnknownName: there is no such head or class.
        ValueError: no head is named, and there are several; or HF has no class with such a head: the message tells in
            what each class differs.
    """
    state = _state(checkpoint.config)
    names = [] if checkpoint.model.static is not None else kept_names(state, checkpoint.source)["heads"]
    if head is not None and head not in names:
        raise UnknownName(unknown("flexible head named", head, names))
    if not names:
        return as_it_is(checkpoint)
    if head is None and len(names) > 1:
        raise ValueError(
            f"there are several heads, of which one can become the fixed one; name it by --head: {listing(names)}"
        )
    name = head or names[0]
    content = read(kept_folder(checkpoint.source, "heads", NamedModules.slug(name)))
    rest = {key: value for key, value in state.items() if key not in _NOT_FIXED}
    rest |= {"heads": [other for other in names if other != name], "fixed_head": name}
    output = as_it_is(_fixed(checkpoint, name, content, class_name, rest))
    output.notes += [
        f"embeddings/{one} stays behind: a fixed head is for the model's own vocabulary"
        for one in kept_names(state, checkpoint.source)["embeddings"]
    ]
    return output


def _fixed(
    checkpoint: Checkpoint, name: str, content: Content, class_name: str | None, state: dict[str, Any]
) -> Checkpoint:
    """The checkpoint as one of HF's class with a flexible head."""
    flexible = bare(checkpoint).model
    file = head_file(content.config, content.tensors)
    with blank():
        head = make_head(flexible, name, file.config or {})
    found = fixed_class(flexible, head, class_name)
    model = zoo.CLASSES[found.name](_with_state(found.config, state), initialise=False)
    makers: dict[str, Callable[[], Tensor]] = {
        key: partial(checkpoint.tensors.__getitem__, key) for key in checkpoint.tensors
    }
    makers |= _head_makers(content.tensors, str(file.name), head.tied, model.static)
    tensors = Lazy(makers)
    fitted = fit(model, model.head_target(None, {}), tensors)
    made = replace(checkpoint, config=model.config, tensors=tensors, stated=found.name, model=model, fit=fitted)
    made.check(drop=("*",))
    return made


def _head_makers(
    tensors: Mapping[str, Tensor], name: str, tied: set[str], static: Any
) -> dict[str, Callable[[], Tensor]]:
    """What makes a flexible head's tensors under HF's names; those that are the network's are left out.

    Raises:
        ValueError: a tensor is none of such a head.
    """
    makers: dict[str, Callable[[], Tensor]] = {}
    for key in (key for key in tensors if key.removeprefix(f"heads.{name}.") not in tied):
        names = static.keymap.to_theirs(key.removeprefix(f"heads.{name}."))
        if names is None:
            raise ValueError(f"the head {name!r} does not fit: {key} has no place here")
        makers |= {theirs: partial(_part, tensors, key, names, part) for part, theirs in enumerate(names)}
    return makers


def _part(tensors: Mapping[str, Tensor], key: str, names: tuple[str, ...], part: int) -> Tensor:
    return hf.scatter(tensors[key], names)[names[part]]


def _state(config: ModelConfig) -> dict[str, Any]:
    """What the config says of what lies beside the model."""
    return dict(config.extra.get(STATE) or {})


def _with_state(config: ModelConfig, state: dict[str, Any]) -> ModelConfig:
    """The config that says this of it; nothing, where that is what a checkpoint without anything beside it says."""
    made = copy.copy(config)
    made.extra = {key: value for key, value in config.extra.items() if key != STATE}
    plain: dict[str, Any] = {"active_adapters": None, "skip_layers": [], "fixed_head": "default"}
    if any(value and value != plain.get(key) for key, value in state.items()):
        made.extra[STATE] = state
    return made
