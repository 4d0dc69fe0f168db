"""Tiny models of every registered architecture, with random weights that are nowhere zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, ModelConfig

NAMES = list(ARCHITECTURES)
"""The architectures' names, for `pytest.mark.parametrize`."""

_SIZES = {"vocab": 60, "position": 24, "head": 4, "layer": 2, "ffn": 48, "intermediate": 48}
_WIDTH = 32


def tiny_size(field: str) -> int:
    """The size for a field of a config, told by its name: `num_hidden_layers` is 2, `d_model` is 32."""
    return next((size for part, size in _SIZES.items() if part in field), _WIDTH)


def tiny_config(architecture: str, **changes: Any) -> ModelConfig:
    """A small config without dropout."""
    kind = ARCHITECTURES[architecture].config
    sizes = {field: tiny_size(field) for field in kind.sizes}
    still = {field: 0.0 for field in kind.defaults if "drop" in field}
    return kind(**{**sizes, **still, **changes})


def randomise(module: nn.Module, std: float = 0.2) -> None:
    """Give every tensor random values, far from what it would start with: biases and LayerNorms, too."""
    with torch.no_grad():
        for parameter in [*module.parameters(), *module.buffers()]:
            parameter.add_(torch.randn_like(parameter) * std)


def class_named(architecture: str, suffix: str) -> Any:
    """An architecture's model class: suffix "Model", "AdapterModel" or a static head's."""
    return zoo.CLASSES[ARCHITECTURES[architecture].name + suffix]


def tiny_model(architecture: str, suffix: str = "AdapterModel", **changes: Any) -> Any:
    """A small model in evaluation mode, every weight random.

    Args:
        architecture: its name.
        suffix: what follows the architecture's name in the class's.
        changes: fields of the config to set.
    """
    model = class_named(architecture, suffix)(tiny_config(architecture, **changes))
    randomise(model)
    return model


def decoders() -> dict[str, dict[str, Any]]:
    """Every kind of decoder: an architecture's name, or one with "-decoder" or "-cross"; and what its config says.

    Encoder-decoders are decoders already; a lone stack becomes one by `is_decoder`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        if ARCHITECTURES[name].network(tiny_config(name)).decoder is not None:
            found[name] = {}
        else:
            found[f"{name}-decoder"] = {"is_decoder": True}
            found[f"{name}-cross"] = {"is_decoder": True, "add_cross_attention": True}
    return found


def tiny_decoder(kind: str) -> Any:
    """A model of a kind that `decoders` lists."""
    return tiny_model(kind.partition("-")[0], **decoders()[kind])
