"""PEFT's LN_TUNING: its fields and tensors, which are LayerNorms as a whole."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from adapterzoo.core.sites import sites_of
from adapterzoo.formats.peft.fields import Fields
from adapterzoo.formats.peft.kinds import KINDS, Kind, Slot, Tensors, covered
from adapterzoo.formats.peft.places import Places, patterns
from adapterzoo.formats.peft.targets import chosen
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.methods.ln_tuning import LNTuningConfig
from adapterzoo.nn.transformer import Transformer


def takes(config: AdapterConfig) -> bool:
    """LayerNorm tuning."""
    return isinstance(config, LNTuningConfig)


def read(fields: Fields, places: Places, stem: str) -> AdapterConfig:
    """LayerNorm tuning for the modules that the file names."""
    found = chosen(fields, places, ("norm",), stem)
    return fields.made(lambda: LNTuningConfig(sites=patterns(found, places.network)))


def write(config: LNTuningConfig, places: Places) -> dict[str, Any]:
    """The fields of a file."""
    return {"target_modules": places.named(covered(config, places))}


def slots(config: LNTuningConfig, places: Places) -> list[Slot]:
    """Gain and bias of each LayerNorm."""
    return [
        Slot(f"{name}.ln_tuning_layers.{part}", f"units.{site.slug}.{part}", (site.d_out,))
        for site, name in covered(config, places).items()
        for part in ("weight", "bias")
    ]


def _frozen(network: Transformer) -> dict[str, Tensor]:
    """The network's own gains and biases, by the names of what is added to them."""
    norms = {site.slug: network.weight_of(site) for site in sites_of(network.config) if site.kind == "norm"}
    return {
        f"units.{slug}.{part}": tensor.detach()
        for slug, pair in norms.items()
        for part, tensor in zip(("weight", "bias"), pair, strict=True)
    }


def receive(config: LNTuningConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """What is added to the network's own."""
    frozen = _frozen(network)
    return {key: tensor.to(frozen[key].device) - frozen[key] for key, tensor in tensors.items()}


def give(config: LNTuningConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """What is added and the network's own, together."""
    frozen = _frozen(network)
    return {key: tensor + frozen[key] for key, tensor in tensors.items()}


KINDS.add("LN_TUNING", Kind(takes, read, write, slots, receive=receive, give=give))
