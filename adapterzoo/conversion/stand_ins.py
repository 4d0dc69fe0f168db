"""Models without values that an adapter's files may be for, made from what the files tell of sizes."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.conversion.adapters import guessed_network
from adapterzoo.core.blank import blank
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.sites import sites_of
from adapterzoo.formats import Content
from adapterzoo.nn.transformer import Transformer
from adapterzoo.store import Source

HINT = "give the model that it is for: --base MODEL"


class _Telling(NamedTuple):
    """Which tensors tell a size: at which site, how their names end, which of their dimensions, which field of ours."""

    site: str
    endings: tuple[str, ...]
    dimension: int
    field: str


_TELLING = (
    _Telling(
        "mlp.up",
        ("lora_B", "lora_B.weight", "ia3_l", "lora_magnitude_vector", "m.weight", "lambda_b", "vera_B"),
        0,
        "inner",
    ),
    _Telling("mlp.down", ("lora_A", "lora_A.weight", "ia3_l"), 1, "inner"),
    _Telling("mlp.down", ("lora_B",), 0, "inner"),  # of what scales its input; else it is as wide as the model
    _Telling("token", ("lora_embedding_A", "lora_A"), 1, "vocab"),
    _Telling("token", ("lora_embedding_B", "lora_B"), 0, "embed_width"),
)
_AS_WIDE = re.compile(
    r"(\.(query|key|value|[qkv]_proj|query_proj|key_proj|value_proj|[qkv]_lin)|(?i:layer_?norm))\.(?!.*lambda_d$)"
)
"""Names of tensors whose largest dimension is the model's width."""


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
    width = _width(content) or tables.network(config).width
    model = zoo.CLASSES[f"{architecture.name}AdapterModel"](config, initialise=False)
    name = str(content.config.get("name") or "default")
    tensors = {re.sub(r"^base_model\.(model\.)?", "", key): tensor for key, tensor in content.tensors.items()}
    network = guessed_network(tables, width, tensors, name)
    told = _told(tables, network, tensors)
    network = replace(network, **{name: replace(stack, **told[name]) for name, stack in network.stacks().items()})  # type: ignore[arg-type]
    model.base = _nothing(network)
    return model


def _told(
    tables: Architecture, network: NetworkConfig, tensors: Mapping[str, Tensor]
) -> defaultdict[str, dict[str, int]]:
    """Sizes of each stack, beside its width, that the shapes of an adapter's tensors tell, by their fields."""
    found: defaultdict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for site in sites_of(network):
        telling = [one for one in _TELLING if one.site == site.name]
        stem = f".{tables.hub_module(site)}." if telling else ""
        for key, tensor in tensors.items() if telling else ():
            shape = tensor.shape[-2:]  # before which there may be a number of tasks
            for one in telling if stem in f".{key}" else ():
                if (
                    key.endswith(one.endings)
                    and len(shape) > one.dimension
                    and shape[one.dimension] not in (1, network.width)
                ):
                    found[site.stack][one.field].add(shape[one.dimension])
    sizes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for stack, fields in found.items():
        sizes[stack] = {field: several.pop() for field, several in fields.items() if len(several) == 1}
    return sizes


def _nothing(network: NetworkConfig) -> Transformer:
    """A network whose weights are NaN, so that nothing that needs them goes unnoticed. They take no memory."""
    with blank():
        base = Transformer(network)
    for module in base.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                empty = torch.full((), torch.nan).expand(parameter.shape)
                module._parameters[name] = nn.Parameter(empty, requires_grad=False)
    return base


def _width(content: Content) -> int | None:
    """The model's width, as the files tell it."""
    said = content.config.get("hidden_size") or content.config.get("token_dim")
    if isinstance(said, int):
        return said
    there = [(key, content.tensors[key].shape) for key in content.tensors]
    sizes = {max(shape) for key, shape in there if shape and _AS_WIDE.search(key)}
    return sizes.pop() if len(sizes) == 1 else None


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
