"""What an architecture is: its config, its numbers, its weight table, its static heads, its AdapterHub names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.keymap import KeyMap, Row
from adapterzoo.core.registry import Registry
from adapterzoo.core.sites import Site

LABELLED = ("classification", "multilabel_classification", "tagging", "question_answering", "multiple_choice")


@dataclass(frozen=True, eq=False)
class StaticHead:
    """One of HF's classes with a fixed head: which flexible head it is, and how its tensors are called.

    Attributes:
        suffix: what follows the architecture's name: "ForSequenceClassification".
        head_type: the flexible head's type.
        settings: the flexible head's settings.
        rows: HF's names against our head's.
        pooler: whether HF's class has the pooler.
        decoder_only: whether it is an encoder-decoder's decoder alone.
        pretraining: whether it is what pretraining trains, not a task (such a head is not made flexible by default).
        from_config: settings that are fields of the model's config, by the field's name.
        base_rows: rows that take the place of the architecture's row for the same tensor of ours.
    """

    suffix: str
    head_type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    pooler: bool = False
    decoder_only: bool = False
    pretraining: bool = False
    base_rows: tuple[Row, ...] = ()
    from_config: Mapping[str, str] = field(default_factory=dict)

    def flexible(self, config: ModelConfig) -> dict[str, Any]:
        """The config of the flexible head that this is under a model's `config`: `head_type` and settings."""
        settings = {**self.settings, **{key: getattr(config, name) for key, name in self.from_config.items()}}
        kind = self.head_type
        if kind == "classification" and config.problem_type == "multi_label_classification":
            kind = "multilabel_classification"
        unusual = config.problem_type is not None and (config.problem_type == "regression") != (config.num_labels == 1)
        if kind == "classification" and unusual:  # the head takes one label for regression, several for classes
            settings["problem_type"] = config.problem_type
        if kind == "multiple_choice":
            settings["num_choices"] = max(config.num_labels, 1)
        if kind in LABELLED:
            settings |= {"num_labels": config.num_labels, "id2label": dict(config.id2label)}
        return {"head_type": kind, **settings}

    @property
    def keymap(self) -> KeyMap:
        """The head's table."""
        return _head_keymap(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """One architecture, all tables.

    Attributes:
        name: what its classes' names begin with: "Bert".
        config: its config class.
        prefix: what HF's classes with heads put before the base's tensor names.
        network: the numbers of a config.
        rows: HF's tensor names (without prefix) against ours.
        places: AdapterHub's names of the modules where join and kv sites lie, `{i}` for the layer in its stack.
        heads: the types of flexible heads that make sense here.
        statics: HF's classes with heads.
        unused: tensors that HF's files may hold and nobody needs.
    """

    name: str
    config: type[ModelConfig]
    prefix: str
    network: Callable[[Any], NetworkConfig]
    rows: tuple[Row, ...]
    places: Mapping[str, str]
    heads: tuple[str, ...]
    statics: tuple[StaticHead, ...]
    unused: tuple[str, ...] = ()

    @property
    def head_types(self) -> tuple[str, ...]:
        """The types of heads that its models may have: those that make sense here, and those of HF's classes."""
        return tuple(dict.fromkeys((*self.heads, *(static.head_type for static in self.statics))))

    @property
    def model_type(self) -> str:
        """What `config.json` calls it."""
        return self.config.model_type

    def keymap(self, static: StaticHead | None = None) -> KeyMap:
        """The base's table, as a static class has it."""
        return _base_keymap(self, static)

    def static(self, class_name: str | None) -> StaticHead | None:
        """The static head of HF's class of that name, if it is one of ours."""
        return next((s for s in self.statics if f"{self.name}{s.suffix}" == class_name), None)

    def hub_module(self, site: Site) -> str:
        """AdapterHub's name of the module at a site: where an adapter's unit hangs in its files."""
        place = self.places.get(f"{site.stack}.{site.name}") or self.places.get(site.name)
        if place is not None:
            return place.replace("{stack}", site.stack).replace("{i}", str(site.depth))
        block, part = site.name.split(".")
        ours = (
            f"{site.path}.weight"
            if block == "mlp" or part == "out"
            else f"{site.stack}.{site.depth}.{block}.qkv.weight"
        )
        theirs = self.keymap().to_theirs(ours)
        assert theirs is not None
        return theirs["qkv".index(part) if len(theirs) == 3 else 0].removesuffix(".weight")


@cache
def _base_keymap(architecture: Architecture, static: StaticHead | None) -> KeyMap:
    instead = {row.ours: row for row in (static.base_rows if static else ())}
    return KeyMap(instead.get(row.ours, row) for row in architecture.rows)


@cache
def _head_keymap(static: StaticHead) -> KeyMap:
    return KeyMap(static.rows)


ARCHITECTURES: Registry[Architecture] = Registry("architecture")
"""Architectures by `model_type`."""


def register(architecture: Architecture) -> Architecture:
    """Add an architecture to the zoo."""
    return ARCHITECTURES.add(architecture.model_type, architecture)
