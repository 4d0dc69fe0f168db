"""A tiny model of every class, in every variant that its tensors differ in."""

from __future__ import annotations

from typing import Any

from adapterzoo import zoo
from adapterzoo.archs import ModelConfig
from tests.helpers.options import others
from tests.helpers.tiny import ALONE, architecture_of, decoders, randomise, tiny_config

CLASSES = [name for name, kind in zoo.CLASSES.items() if not issubclass(kind, ModelConfig)]
"""The names of all model classes."""


def variants(name: str) -> list[tuple[str, dict[str, Any]]]:
    """A class's name with each set of fields of the config that changes which tensors there are."""
    architecture, static = zoo.CLASSES[name].architecture.model_type, zoo.CLASSES[name].static
    alone = ALONE if static is None else {}  # a class with a fixed head has an encoder, or has none
    kinds = [changes for kind, changes in {**decoders(), **alone}.items() if architecture_of(kind) == architecture]
    return [(name, changes) for changes in ({}, *filter(None, kinds), *others(zoo.CLASSES[name].architecture.config))]


VARIANTS = [variant for name in CLASSES for variant in variants(name)]
IDS = ["-".join([name, *changes]) for name, changes in VARIANTS]


def tiny_of(name: str, changes: dict[str, Any] | None = None) -> Any:
    """A small model of the class of that name, every weight random."""
    kind = zoo.CLASSES[name]
    model = kind(tiny_config(kind.architecture.model_type, **(changes or {})))
    randomise(model)
    return model
