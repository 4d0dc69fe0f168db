"""A model in another of its architecture's classes: a fixed head made flexible, a flexible one fixed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from typing import Any

from torch import nn

from adapterzoo import quantizing
from adapterzoo.adapter import Adapter
from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.blank import blank, give
from adapterzoo.embeddings import activate, at_default, carry_over
from adapterzoo.fixed_class import fixed_class
from adapterzoo.fusion import Fusion
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.make import make_head
from adapterzoo.merging import unmerged
from adapterzoo.pretrained import initialise_missing

logger = logging.getLogger("adapterzoo")


def to_flexible(model: Any, head_name: str) -> Any:
    """See `StaticModel.to_flexible`."""
    with unmerged(model) as merged, at_default(model):
        made = _with_network_of(model, "AdapterModel", _copied(model.config))
        made.heads.check_new(head_name)
        with blank():
            head = make_head(made, head_name, model.static.flexible(made.config))
        _take(head, model.head, head.tied)
        made.add_prediction_head(head)
        carry_over(model, made, {head_name: "default"})
    activate(made, model.embeddings.active)
    made.merge_adapter(merged)
    return made


def to_static(model: Any, head_name: str | None, class_name: str | None) -> Any:
    """See `AdapterModel.to_static`."""
    name = model.active_head if head_name is None else head_name
    if not isinstance(name, str):
        raise ValueError("name a head: not just one is active")
    head: PredictionHead = model.heads[name]
    with unmerged(model) as merged, at_default(model):
        found = fixed_class(model, head, class_name)
        made = _with_network_of(model, found.static.suffix, found.config)
        _take(made.head, head, made.head.tied)
        made.head.tie(made)
        made.head.train(head.training)
        carry_over(model, made, {"default": name})
    activate(made, model.embeddings.active)
    made.merge_adapter(merged)
    return made


def _copied(config: ModelConfig) -> ModelConfig:
    return type(config).from_dict(copy.deepcopy(config.to_dict()))


def _with_network_of(model: Any, suffix: str, config: ModelConfig) -> Any:
    """A model of another class with copies of a model's network and adapters; its head is on the meta device."""
    made = model.family[model.architecture.name + suffix](config, initialise=False)
    quantizing.follow(made.base, model.base)
    there = model.base.state_dict(keep_vars=True)
    lost = [name for name in made.base.state_dict(keep_vars=True) if name not in there]
    _take(made.base, model.base)
    if lost:
        kinds = type(made).__name__, type(model).__name__
        logger.warning("%s: newly initialised, for %s has none: %s", *kinds, ", ".join(lost))
        names = [f"base.{name}" for name in lost]
        initialise_missing({"base": made.base}, names, made.base.config.init_std, model.dtype)
        made.base.to(model.device)
    for name, adapter in model.adapters.items():
        twin = Adapter(adapter.config, made.base, initialise=False)
        give(twin, {key: tensor.clone() for key, tensor in adapter.state_dict().items()}, model.device)
        made.adapters.put(name, twin)
        _same_flags(twin, adapter)
    for name, fusion in model.fusions.items():
        copied = Fusion(fusion.config, fusion.names, fusion.sites, made.base)
        copied.load_state_dict(fusion.state_dict())
        _same_flags(copied, fusion)
        made.adapters.put_fusion(name, copied)
    made.adapters.activate(model.adapters.active, made.base, sorted(model.adapters.skip_layers))
    made.padding_free = model.padding_free
    return made.train(model.training)


def _take(target: nn.Module, source: nn.Module, but: Iterable[str] = ()) -> None:
    """Give a module copies of another's tensors, as far as it has such; those in `but` it has from elsewhere."""
    wanted = set(target.state_dict()) - set(but)
    copies = {name: tensor.detach().clone() for name, tensor in source.state_dict().items() if name in wanted}
    target.load_state_dict(copies, strict=False, assign=True)
    _same_flags(target, source)


def _same_flags(target: nn.Module, source: nn.Module) -> None:
    """Let gradients be kept where another module keeps them."""
    flags = {name: parameter.requires_grad for name, parameter in source.named_parameters()}
    for name, parameter in target.named_parameters():
        parameter.requires_grad_(flags.get(name, True))
