"""Tiny models of every registered architecture, with random weights that are nowhere zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, ModelConfig, StaticHead
from tests.helpers.options import switched_on

NAMES = list(ARCHITECTURES)
"""The architectures' names, for `pytest.mark.parametrize`."""


def _mathematics(name: str) -> tuple[Any, ...]:
    kind = ARCHITECTURES[name]
    return kind.network, kind.rows, kind.places


DISTINCT = [name for index, name in enumerate(NAMES) if _mathematics(name) not in map(_mathematics, NAMES[:index])]
"""The architectures, but of those that share code and tables, and differ in names alone, only the first."""

_SIZES = {"vocab": 60, "position": 24, "head": 4, "layer": 2, "ffn": 48, "intermediate": 48}
_SIZES |= {"hidden_dim": 48, "embedding_size": 24}
_WIDTH = 32


def tiny_size(field: str) -> int:
    """The size for a field of a config, told by its name: `num_hidden_layers` is 2, `d_model` is 32."""
    return next((size for part, size in _SIZES.items() if part in field), _WIDTH)


def tiny_config(architecture: str, **changes: Any) -> ModelConfig:
    """A small config without dropout."""
    kind = ARCHITECTURES[architecture].config
    sizes = {field: tiny_size(field) for field in kind.sizes}
    still = {field: 0.0 for field in kind.defaults if "drop" in field}
    parts: dict[str, Any] = {part: tiny_config("bert") for part in ("encoder", "decoder") if part in kind.defaults}
    parts |= {"eos_token_id": 2, "decoder_start_token_id": 3} if parts else {}
    return kind(**{**sizes, **still, **parts, **switched_on(kind), **changes})


def fixed_heads(*head_types: str) -> list[tuple[str, StaticHead]]:
    """Every class with a fixed head, of one of these types if any are given: its architecture's name, and the head."""
    every = [(name, static) for name in NAMES for static in ARCHITECTURES[name].statics]
    return [(name, static) for name, static in every if not head_types or static.head_type in head_types]


def class_ids(classes: list[tuple[str, StaticHead]]) -> list[str]:
    """The names of such classes, for tests' ids."""
    return [ARCHITECTURES[name].class_name(static) for name, static in classes]


def randomise(module: nn.Module, std: float = 0.2) -> None:
    """Give every tensor random values, far from what it would start with: biases and LayerNorms, too."""
    with torch.no_grad():
        for parameter in [*module.parameters(), *module.buffers()]:
            parameter.add_(torch.randn_like(parameter) * std)


def class_named(architecture: str, suffix: str | StaticHead | None) -> Any:
    """An architecture's model class.

    Args:
        architecture: its name.
        suffix: "Model" (the flexible one where no class is bare), "AdapterModel" or a head's; or as in
            `Architecture.classes` the head itself, None for the bare one.
    """
    kind = ARCHITECTURES[architecture]
    if not isinstance(suffix, str):
        return zoo.CLASSES[kind.class_name(suffix)]
    bare = kind.class_name() if None in kind.classes else f"{kind.name}AdapterModel"
    return zoo.CLASSES[bare if suffix == "Model" else kind.name + suffix]


def tiny_model(architecture: str, suffix: str | StaticHead | None = "AdapterModel", **changes: Any) -> Any:
    """A small model in evaluation mode, every weight random.

    Args:
        architecture: its name.
        suffix: which class, as for `class_named`.
        changes: fields of the config to set.
    """
    model = class_named(architecture, suffix)(tiny_config(architecture, **changes))
    randomise(model)
    return model


BECOMES: dict[str, dict[str, Any]] = {
    "decoder": {"is_decoder": True},
    "cross": {"is_decoder": True, "add_cross_attention": True},
    "only": {"is_decoder": True, "is_encoder_decoder": False},
}
"""What makes a config one of a decoder: a lone stack's, or an encoder-decoder's without its encoder."""


def decoders(names: Sequence[str] = tuple(NAMES)) -> dict[str, dict[str, Any]]:
    """Every kind of decoder: an architecture's name, or one with an ending of `BECOMES`; and what its config says.

    Encoder-decoders are decoders already; a lone stack becomes one by `is_decoder`. See `ALONE` for one more kind.

    Args:
        names: the architectures.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if ARCHITECTURES[name].network(tiny_config(name)).decoder is not None:
            found[name] = {}
        elif any(static.head_type == "causal_lm" for static in ARCHITECTURES[name].statics):
            found |= {f"{name}-{ending}": BECOMES[ending] for ending in ("decoder", "cross")}
    return found


ALONE = {f"{name}-only": BECOMES["only"] for name in NAMES if ARCHITECTURES[name].alone is not None}
"""The kinds of decoders that are an encoder-decoder's without its encoder."""


def tiny_decoder(kind: str) -> Any:
    """A model of a kind that `decoders` or `ALONE` lists."""
    return tiny_model(architecture_of(kind), **{**decoders(), **ALONE}[kind])


def architecture_of(kind: str) -> str:
    """The name of the architecture of a kind that `decoders` or `ALONE` lists."""
    return next(name for name in NAMES if kind in (name, *(f"{name}-{ending}" for ending in BECOMES)))
