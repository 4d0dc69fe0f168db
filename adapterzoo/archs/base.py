"""What an architecture is: its config, its numbers, its weight table, its static heads, its AdapterHub names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.keymap import KeyMap, Row
from adapterzoo.core.registry import Registry
from adapterzoo.core.sites import OUTSIDE, Site

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
        decoder_only: whether it is an encoder-decoder's decoder alone; see `DecoderAlone`.
        pretraining: whether it is what pretraining trains, not a task (such a head is not made flexible by default).
        from_config: settings that are fields of the model's config, by the field's name.
        part: the field of the model's config that holds the config to read from; the whole if None.
        unless: by the name of a switch in the config: what it is where that is off.
    """

    suffix: str
    head_type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    pooler: bool = False
    decoder_only: bool = False
    pretraining: bool = False
    from_config: Mapping[str, str] = field(default_factory=dict)
    part: str | None = None
    unless: Mapping[str, StaticHead] = field(default_factory=dict)

    def of(self, config: ModelConfig) -> StaticHead:
        """What it is under a model's `config`."""
        return next((other for switch, other in self.unless.items() if not getattr(config, switch)), self)

    def flexible(self, config: ModelConfig) -> dict[str, Any]:
        """The config of the flexible head that this is under a model's `config`: `head_type` and settings."""
        read = config if self.part is None else getattr(config, self.part)
        settings = {**self.settings, **{key: getattr(read, name) for key, name in self.from_config.items()}}
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


@dataclass(frozen=True)
class DecoderAlone:
    """What an encoder-decoder's tables have otherwise where the config says that its decoder is all there is.

    A config says so by `is_decoder` without `is_encoder_decoder`, as HF's classes of a decoder alone write it.

    Attributes:
        heads: the types of flexible heads that make sense there.
        rows: rows that take the place of the architecture's row for the same tensor of ours.
    """

    heads: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """One architecture, all tables.

    Attributes:
        name: what its classes' names begin with: "Bert".
        base: what follows the name in the bare model's class.
        config: its config class.
        prefix: what HF's classes with heads put before the base's tensor names.
        network: the numbers of a config.
        rows: HF's tensor names (without prefix) against ours.
        places: AdapterHub's names of the modules where join and kv sites lie, `{i}` for the layer in its stack.
        groups: AdapterHub's names of what an adapter's layers share, where they are not ours; see `hub_group`.
        heads: the types of flexible heads that make sense here.
        statics: HF's classes with heads.
        unused: tensors that HF's files may hold and nobody needs.
        starts_with_last: whether a decoder's input that is made from a text begins with the text's last token (mBART's
            language), not with `decoder_start_token_id`.
        specialise: makes the tables for one config, where they depend on it.
        alone: what differs in the decoder's, where it may stand alone.
    """

    name: str
    config: type[ModelConfig]
    prefix: str
    network: Callable[[Any], NetworkConfig]
    rows: tuple[Row, ...]
    places: Mapping[str, str]
    heads: tuple[str, ...]
    statics: tuple[StaticHead, ...]
    groups: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    base: str = "Model"
    starts_with_last: bool = False
    specialise: Callable[[Any], Architecture] | None = None
    alone: DecoderAlone | None = None

    def under(self, config: ModelConfig) -> Architecture:
        """The tables under a model's `config`."""
        if self.alone is not None and config.is_decoder and not config.is_encoder_decoder:
            return _decoder_alone(self)
        return self if self.specialise is None else self.specialise(config)

    @property
    def stem(self) -> str:
        """What stands before the base's tensor names in HF's classes with heads, the dot included."""
        return f"{self.prefix}." if self.prefix else ""

    @property
    def classes(self) -> tuple[StaticHead | None, ...]:
        """HF's classes by their heads; None for the bare one, where there is such."""
        bare = () if any(static.suffix == self.base for static in self.statics) else (None,)
        return (*bare, *self.statics)

    @property
    def head_types(self) -> tuple[str, ...]:
        """The types of heads that its models may have: those that make sense here, and those of HF's classes."""
        return tuple(dict.fromkeys((*self.heads, *(static.head_type for static in self.statics))))

    @property
    def model_type(self) -> str:
        """What `config.json` calls it."""
        return self.config.model_type

    @property
    def keymap(self) -> KeyMap:
        """The base's table."""
        return _base_keymap(self)

    def static(self, class_name: str | None, config: ModelConfig | None = None) -> StaticHead | None:
        """The static head of HF's class of that name, if it is one of ours; under a `config`, if that is given."""
        found = next((s for s in self.statics if self.class_name(s) == class_name), None)
        return found if found is None or config is None else found.of(config)

    def class_name(self, static: StaticHead | None = None) -> str:
        """HF's name of the class with that head; of the bare one if None."""
        return self.name + (static.suffix if static else self.base)

    def hub_module(self, site: Site) -> str:
        """AdapterHub's name of the module at a site: where an adapter's unit hangs in its files."""
        place = self.places.get(f"{site.stack}.{site.name}", self.places.get(site.name))
        if place is not None:
            return place.replace("{stack}", site.stack).replace("{i}", str(site.depth))
        if site.kind in ("stream", "tokens") and site.depth == OUTSIDE:
            return ""
        if site.name == "layer.out":  # the joins lie in it
            return self.hub_module(site._replace(name="mlp.join")).rpartition(".")[0]
        for ours in _tensors_at(site):
            theirs = self.keymap.to_theirs(ours)
            if theirs is not None:
                part = site.name.rpartition(".")[2]
                return theirs["qkv".index(part) if len(theirs) == 3 else 0].removesuffix(".weight")
        raise ValueError(f"{self.name}'s tables name no tensor at {site.path}")

    def hub_group(self, group: str) -> str:
        """AdapterHub's name of what an adapter's layers share, `{shared}` for what its method's names begin with.

        The group "shared" has no name of its own there.
        """
        return self.groups.get(group, "{shared}" if group == "shared" else f"{{shared}}.{group}")


def _tensors_at(site: Site) -> tuple[str, ...]:
    """Our name of the weight at a site; several where it depends on the network which there is."""
    block, _, part = site.name.partition(".")
    layer = f"{site.stack}.{site.depth}.{block}"
    if site.kind == "lookup":
        return f"embed.{site.stack}.token.weight", "token.weight"
    if site.kind == "norm":
        outside = {"embed": f"embed.{site.stack}.norm.weight", "last": f"last_norm.{site.stack}.weight"}
        return (outside[block],) if block in outside else (f"{layer}_norm.weight", f"{layer}_prenorm.weight")
    return (f"{site.path}.weight",) if block == "mlp" or part == "out" else (f"{layer}.qkv.weight",)


@cache
def _decoder_alone(whole: Architecture) -> Architecture:
    """The tables of an encoder-decoder's decoder alone."""
    assert whole.alone is not None
    instead = {row.ours: row for row in whole.alone.rows}
    return replace(
        whole,
        network=partial(_without_encoder, whole.network),
        rows=tuple(instead.get(row.ours, row) for row in whole.rows),
        heads=whole.alone.heads,
        statics=tuple(static for static in whole.statics if static.decoder_only),
    )


def _without_encoder(network: Callable[[Any], NetworkConfig], config: Any) -> NetworkConfig:
    return replace(network(config), encoder=None)


@cache
def _base_keymap(architecture: Architecture) -> KeyMap:
    return KeyMap(architecture.rows)


@cache
def _head_keymap(static: StaticHead) -> KeyMap:
    return KeyMap(static.rows)


ARCHITECTURES: Registry[Architecture] = Registry("architecture")
"""Architectures by `model_type`."""


def register(architecture: Architecture) -> Architecture:
    """Add an architecture to the zoo."""
    return ARCHITECTURES.add(architecture.model_type, architecture)
