"""Models without values that an adapter's files may be for, made from what the files tell of sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.conversion.adapters import guessed_network
from adapterzoo.conversion.dtypes import exact_dtype
from adapterzoo.conversion.sizes import MOST_LAYERS, fitted
from adapterzoo.core.blank import blank
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import SIZE, Rule, wrong_fields
from adapterzoo.formats import Content
from adapterzoo.nn.transformer import Transformer
from adapterzoo.store import Source

LAYERS = SIZE._replace(most=MOST_LAYERS)
HINT = "give the model that it is for: --base MODEL"


def stand_ins(content: Content, model_type: str | None) -> list[Any]:
    """Models without values that an adapter may be for."""
    told = content.config.get("model_type") if content.format == "adapterhub" else model_type
    if told is not None:
        return [_stand_in(ARCHITECTURES[told], content)]
    tables = {id(architecture): architecture for architecture in ARCHITECTURES.values()}
    return [_stand_in(architecture, content) for architecture in tables.values()]


def _stand_in(architecture: Architecture, content: Content) -> Any:
    """A model of the sizes that an adapter's tensors tell, with no value anywhere that would be one."""
    config = architecture.config()
    tables = architecture.under(config)
    width = _size(content.config, "hidden_size", SIZE) or _size(content.config, "token_dim", SIZE)
    model = zoo.CLASSES[f"{architecture.name}AdapterModel"](config, initialise=False)
    name = str(content.config.get("name") or "default")
    tensors = {re.sub(r"^base_model\.(model\.)?", "", key): tensor for key, tensor in content.tensors.items()}
    network = guessed_network(tables, width or tables.network(config).width, tensors, name)
    network = _as_prefixes_say(network, content.config)
    model.base = nothing(fitted(network, tables, content, width is not None), exact_dtype(content.tensors))
    return model


def _size(config: Mapping[str, Any], name: str, rule: Rule) -> int | None:
    """A number that a file says of its model; None where it says none that could be one."""
    wrong = any(wrong_fields({name: config.get(name)}, {name: int}, {name: rule}))
    return None if wrong else config[name]


def _as_prefixes_say(network: NetworkConfig, config: Mapping[str, Any]) -> NetworkConfig:
    """The network with the layers and heads that PEFT's files of prefixes have beside the tensor."""
    stack, first = network.first, next(iter(network.stacks()))
    layers, heads = _size(config, "num_layers", LAYERS), _size(config, "num_attention_heads", SIZE)
    heads = heads if heads and stack.width % heads == 0 else stack.heads
    changed = {first: replace(stack, layers=layers or stack.layers, heads=heads)}
    return replace(network, **changed)  # type: ignore[arg-type]


def nothing(network: NetworkConfig, dtype: torch.dtype) -> Transformer:
    """A network whose weights are NaN, so that nothing that needs them goes unnoticed. They take no memory."""
    with blank():
        base = Transformer(network)
    for module in base.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                empty = torch.full((), torch.nan, dtype=dtype).expand(parameter.shape)
                module._parameters[name] = nn.Parameter(empty, requires_grad=False)
    return base


def taken(
    models: Sequence[Any], source: Source, name: str | None = None, allow_pickle: bool = True
) -> list[tuple[Any, str]]:
    """The models that take an adapter, each with the name that the adapter has there.

    Raises:
        ValueError: none does; the message says why.
    """
    fitting: list[tuple[Any, str]] = []
    problems: dict[str, str] = {}
    for model in models:
        try:
            fitting.append((model, model.load_adapter(source, load_as=name, allow_pickle=allow_pickle)))
        except ValueError as error:
            problems[model.architecture.model_type] = str(error)
    if not fitting:
        told = [text if len(problems) == 1 else f"{kind}: {text}" for kind, text in problems.items()]
        raise ValueError("\n".join([*told, f"If the sizes were guessed wrongly, {HINT}"]))
    return fitting


def only(fitting: Sequence[tuple[Any, str]], source: Source) -> tuple[Any, str]:
    """The one model that takes an adapter.

    Raises:
        ValueError: several do, or the adapter's values follow in part from the model's.
    """
    if len(fitting) > 1:
        types = ", ".join(model.architecture.model_type for model, _ in fitting)
        raise ValueError(f"{os.fspath(source)!r} may be for {types}: say which by --model-type, or {HINT}")
    ((model, name),) = fitting
    if not all(bool(tensor.isfinite().all()) for tensor in model.adapters[name].state_dict().values()):
        raise ValueError(f"{os.fspath(source)!r} leaves out what follows from the model's weights; {HINT}")
    return model, name
