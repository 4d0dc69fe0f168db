"""The network's linear maps in int8: a quarter of their memory, and much of the time of products on CPUs."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from adapterzoo.core.cpu import is_fast_on_cpu
from adapterzoo.core.registry import listing, unknown
from adapterzoo.host import Host
from adapterzoo.nn.attention import QKV
from adapterzoo.nn.int8 import Int8Linear, Int8QKV
from adapterzoo.nn.linear import Linear
from adapterzoo.nn.transformer import Transformer

logger = logging.getLogger("adapterzoo")

KINDS = ("int8",)
"""What weights may be brought to."""

PLACES = ("attn.qkv", "attn.out", "cross.qkv", "cross.out", "mlp.up", "mlp.down")
"""What is rounded in a layer: the weights of its linear sites."""


def quantize(model: Host, kind: str) -> None:
    """See `ManagedModel.quantize_base`."""
    if kind not in KINDS:
        raise ValueError(unknown("kind of weights", kind, KINDS))
    if model.adapters.merged:
        raise ValueError(
            f"{listing(model.adapters.merged)}: merged into the weights, and could not be taken out again; "
            "merge_and_unload() makes such weights the model's own, reset_adapter() takes adapters out"
        )
    found = _linears(model.base)
    if not found:
        return
    wrong = [f"{path} is {weight.dtype}" for path, weight in _weights(found) if not weight.is_floating_point()]
    wrong += [f"{path} has no values yet" for path, weight in _weights(found) if weight.is_meta]
    wrong += [
        f"{path} holds NaN or infinite numbers"
        for path, weight in _weights(found)
        if not weight.is_meta and not weight.isfinite().all()
    ]
    if wrong:
        raise ValueError("nothing is rounded to int8, for it cannot be:\n  " + "\n  ".join(wrong))
    if not is_fast_on_cpu(torch.int8):
        logger.warning("this CPU has no instructions for products of int8: they save memory, and little time if any")
    model.base.requires_grad_(False)
    for path, linear in found.items():
        model.base.set_submodule(path, Int8QKV.of(linear) if isinstance(linear, QKV) else Int8Linear.of(linear))


def kind_of(network: Transformer) -> str | None:
    """What the network's linear maps were brought to; None if they are floats."""
    return "int8" if any(isinstance(module, (Int8Linear, Int8QKV)) for module in network.modules()) else None


def check_float(model: Host, what: str) -> None:
    """Check that the network's weights are floats.

    Args:
        model: whose.
        what: what they cannot be otherwise, and what to do instead.

    Raises:
        ValueError: they are not.
    """
    if kind_of(model.base) is not None:
        raise ValueError(f"the network's weights are int8, which {what}")


def follow(network: Transformer, other: Transformer) -> None:
    """Let a network's linear maps be of the kind that another's are. They have no values yet."""
    if kind_of(other) is None:
        return
    for path, linear in _linears(network).items():
        network.set_submodule(path, Int8QKV.of(linear) if isinstance(linear, QKV) else Int8Linear.of(linear))


def _linears(network: Transformer) -> dict[str, Any]:
    """The linear maps of all layers that are floats, by path; what stacks share, once."""
    places = [
        (f"{stack}.{depth}.{place}", _at(layer, place))
        for stack in network.config.stacks()
        for depth, layer in enumerate(network.get_submodule(stack).children())
        for place in PLACES
    ]
    found = {id(module): (path, module) for path, module in reversed(places) if type(module) in (QKV, Linear)}
    return dict(reversed(found.values()))


def _at(layer: nn.Module, place: str) -> Any:
    block, _, part = place.partition(".")
    holder = getattr(layer, block)
    return None if holder is None else getattr(holder, part)


def _weights(linears: dict[str, Any]) -> Any:
    return ((path, linear.weight) for path, linear in linears.items())
