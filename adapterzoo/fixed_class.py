"""Which of an architecture's classes with a fixed head a flexible head fits, and under which config."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapterzoo.archs.base import LABELLED, StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.blank import blank
from adapterzoo.core.registry import UnknownName, unknown
from adapterzoo.heads.base import PredictionHead, head_dropout
from adapterzoo.heads.make import make_head
from adapterzoo.nn.transformer import Transformer

PROBLEM_TYPES = (None, "regression", "single_label_classification", "multi_label_classification")


@dataclass(frozen=True)
class FixedClass:
    """A class with a fixed head, compared with a flexible head.

    Attributes:
        name: the class's name.
        static: its head's table.
        config: the config under which its head is most like the flexible one.
        apart: settings that differ all the same: of the class, of the flexible head.
    """

    name: str
    static: StaticHead
    config: ModelConfig
    apart: Mapping[str, tuple[Any, Any]]

    def __str__(self) -> str:
        own = (f"{key} is {theirs!r} there, not {mine!r}" for key, (theirs, mine) in self.apart.items())
        return f"{self.name} ({', '.join(own)})"


@dataclass(frozen=True)
class _Under:
    """A model under another config, as far as heads look at it."""

    config: ModelConfig
    base: Transformer
    head_types: Mapping[str, type[PredictionHead]]


def fixed_class(model: Any, head: PredictionHead, class_name: str | None = None) -> FixedClass:
    """The class whose fixed head under some config is this flexible one.

    Args:
        model: a flexible model.
        head: one of its heads.
        class_name: the class that it must be; any if None.

    Raises:
        UnknownName: the architecture has no class of that name with a fixed head.
        ValueError: none fits; the message tells what differs.
    """
    every, own = type(model).architecture, model.architecture
    names = {every.class_name(static): static for static in (*every.statics, *own.statics)}
    if class_name is not None and class_name not in names:
        raise UnknownName(unknown(f"class of {every.name}'s with a fixed head", class_name, names))
    alone = model.base.config.alone
    fitting = {name: static for name, static in names.items() if static.decoder_only == alone}
    if class_name is not None and class_name not in fitting:
        kinds = "an encoder-decoder", "a decoder alone"
        raise ValueError(f"{class_name} is {kinds[not alone]}, but this {type(model).__name__} is {kinds[alone]}")
    asked = fitting if class_name is None else {class_name: fitting[class_name]}
    compared = [_compared(model, head, name, static) for name, static in asked.items()]
    equal = [found for found in compared if not found.apart]
    if not equal:
        raise ValueError(f"head {head.name!r} is no class's fixed head: {_told(head, compared)}")
    return equal[0]


def _told(head: PredictionHead, compared: list[FixedClass]) -> str:
    """What differs: of classes with heads of the same type each setting, of others the type."""
    near = [str(found) for found in compared if "head_type" not in found.apart]
    far = [f"{found.name} ({found.apart['head_type'][0]})" for found in compared if "head_type" in found.apart]
    kinds = f"of other types than {head.head_type} are {', '.join(far)}"
    return "; ".join([*near, *([kinds] if far else [])]) or "there are none"


def _compared(model: Any, head: PredictionHead, name: str, static: StaticHead) -> FixedClass:
    """A class with a fixed head, under the config that brings it nearest to a flexible head."""
    tried = [
        FixedClass(name, static, config, _apart(model, head, static, config))
        for config in _configs(model, head, static)
    ]
    return min(tried, key=lambda found: ("head_type" in found.apart, len(found.apart)))


def _configs(model: Any, head: PredictionHead, static: StaticHead) -> Iterator[ModelConfig]:
    """The configs under which a class may have the head, the likeliest first. The network is the same under all."""
    config, names, own = model.config, head.id2label(), head.config
    labels = {"id2label": names, "label2id": None} if names is not None and static.head_type in LABELLED else {}
    fields = {config.attribute_map.get(field, field): own.get(key) for key, field in static.from_config.items()}
    if "dropout_prob" not in static.from_config and "classifier_dropout" in config.defaults:
        fields["classifier_dropout"] = own.get("dropout_prob")
    fields = {field: value for field, value in fields.items() if value is not None}
    kinds = (config.problem_type, *PROBLEM_TYPES) if static.head_type == "classification" else (config.problem_type,)
    for more in ({}, fields) if fields else ({},):
        for kind in dict.fromkeys(kinds):
            changes = {**labels, **more, "problem_type": kind}
            made = type(config).from_dict({**copy.deepcopy(config.to_dict()), **changes})
            if model.architecture.network(made) == model.architecture.network(config):
                yield made


def _apart(model: Any, head: PredictionHead, static: StaticHead, config: ModelConfig) -> dict[str, tuple[Any, Any]]:
    """In which settings the fixed head that a class has under a config differs from a flexible one."""
    wanted = static.flexible(config)
    if wanted["head_type"] != head.head_type:
        return {"head_type": (wanted["head_type"], head.head_type)}
    with blank():
        made = make_head(_Under(config, model.base, model.head_types), head.name, wanted)
    there, mine = _settings(made, config), _settings(head, model.config)
    keys = dict.fromkeys((*there, *mine))
    return {key: (there.get(key), mine.get(key)) for key in keys if there.get(key) != mine.get(key)}


BETWEEN = ("activation_function", "layer_norm")
"""Settings of what stands between layers: of a single layer they say nothing."""


def _settings(head: PredictionHead, config: ModelConfig) -> dict[str, Any]:
    """A head's settings, as far as they say anything, with the chance of dropout that it has in the end."""
    dropout = {"dropout_prob": head_dropout(head.config, config)} if "dropout_prob" in head.config else {}
    silent = BETWEEN if head.config.get("layers") == 1 else ()
    return {key: value for key, value in {**head.config, **dropout}.items() if key not in silent}
