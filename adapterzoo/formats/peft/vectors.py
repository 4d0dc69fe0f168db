"""PEFT's IA3 and VERA: their fields and tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.fields import CHANCE, NATURAL, SIZE
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.formats.peft.fields import Fields
from adapterzoo.formats.peft.kinds import KINDS, Kind, Slot, Tensors, covered
from adapterzoo.formats.peft.low_rank import acting_at
from adapterzoo.formats.peft.places import Places, patterns
from adapterzoo.formats.peft.targets import chosen, is_pattern
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.methods.lora_config import LoRAConfig
from adapterzoo.methods.patterns import matches
from adapterzoo.nn.transformer import Transformer


def _is(config: AdapterConfig, variant: str) -> bool:
    return type(config).architecture == "lora" and getattr(config, "variant_name", None) == variant


def scales(config: LoRAConfig, network: Transformer) -> dict[str, float]:
    """What each unit's value is scaled by, by the name of its site in a state."""
    return {site.slug: config.scale(site) for site in sites_of(network.config)}


# ---------------------------------------------------------------------------------------------- (IA)³


def read_ia3(fields: Fields, places: Places, stem: str) -> AdapterConfig:
    """(IA)³ for the modules that the file names; x is scaled at those that it calls feed-forward modules."""
    found = chosen(fields, places, ("linear",), stem)
    feed: str | list[str] = fields.get("feedforward_modules", str | list[str], [])
    if isinstance(feed, str) and not is_pattern(feed):
        fields.problems.append(f"{feed!r} is no regular expression")
        feed = []
    fields.ignore("init_ia3_weights")
    inputs = [site for site in found if _is_feed(feed, stem + places.names[site])]
    more: dict[str, Any] = {"input_sites": patterns(inputs, places.network)} if inputs else {}
    return fields.made(
        lambda: LoRAConfig(
            r=1, alpha=1, composition_mode="scale", init_weights="ia3", **acting_at(found, places), **more
        )
    )


def _is_feed(feed: str | list[str], full: str) -> bool:
    """Whether a module is a feed-forward one: endings may be parts of words here."""
    return re.fullmatch(feed, full) is not None if isinstance(feed, str) else full.endswith(tuple(feed))


def write_ia3(config: LoRAConfig, places: Places) -> dict[str, Any]:
    """The fields of a file."""
    if config.use_gating:
        raise ValueError("PEFT's IA3 has no gate (use_gating)")
    sites = list(covered(config, places))
    feed = places.named(site for site in sites if at_input(config, site))
    rest = places.named(site for site in sites if not at_input(config, site))
    return {"target_modules": sorted({*feed, *rest}), "feedforward_modules": feed}


def at_input(config: LoRAConfig, site: Site) -> bool:
    """Whether x is scaled there, not y."""
    return config.input_sites is not None and matches(config.input_sites, site)


def slots_ia3(config: LoRAConfig, places: Places) -> list[Slot]:
    """A vector for each module: a row where x is scaled, a column where y is."""
    return [
        Slot(
            f"{name}.ia3_l",
            f"units.{site.slug}.lora_B",
            (1, site.d_in) if at_input(config, site) else (site.d_out, 1),
        )
        for site, name in covered(config, places).items()
    ]


def told_ia3(config: LoRAConfig) -> AdapterConfig:
    """What is scaled by nothing but its vectors."""
    return config.replace(r=1, alpha=1, rank_pattern=None, alpha_pattern=None)


def give_ia3(config: LoRAConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """α is in the vectors there."""
    scale = scales(config, network)
    return {key: tensor * scale[key.split(".")[1]] for key, tensor in tensors.items()}


KINDS.add("IA3", Kind(lambda config: _is(config, "scale"), read_ia3, write_ia3, slots_ia3, told_ia3, give=give_ia3))

# ---------------------------------------------------------------------------------------------- VeRA

MATRICES = {"base_model.vera_A": "shared.shared.lora_A", "base_model.vera_B": "shared.shared.lora_B"}


def read_vera(fields: Fields, places: Places, stem: str) -> AdapterConfig:
    """VeRA for the modules that the file names; PEFT scales nothing by α/r, so that α is r."""
    rank, start = fields.get("r", int, 256, SIZE), fields.get("d_initial", float, 0.1)
    found, dropout = chosen(fields, places, ("linear",), stem), fields.get("vera_dropout", float, 0.0, CHANCE)
    fields.only("bias", "none")
    fields.get("save_projection", bool, True)
    fields.get("projection_prng_key", int, 0, NATURAL)
    fields.ignore("init_weights")
    return fields.made(
        lambda: LoRAConfig(
            r=rank,
            alpha=rank,
            dropout=dropout,
            vera_d=float(start),
            vera_b=0.0,
            init_weights="vera",
            **acting_at(found, places),
        )
    )


def write_vera(config: LoRAConfig, places: Places) -> dict[str, Any]:
    """The fields of a file."""
    if config.use_gating:
        raise ValueError("PEFT's VeRA has no gate (use_gating)")
    return {
        "r": config.r,
        "vera_dropout": config.dropout,
        "d_initial": config.vera_d,
        "target_modules": places.named(covered(config, places)),
        "save_projection": True,
        "projection_prng_key": 0,
        "bias": "none",
    }


def slots_vera(config: LoRAConfig, places: Places) -> list[Slot]:
    """Two vectors for each module, and the two matrices that all share."""
    sites = covered(config, places)
    found = [
        slot
        for site, name in sites.items()
        for slot in (
            Slot(f"{name}.vera_lambda_d", f"units.{site.slug}.vera_D", (config.r,)),
            Slot(f"{name}.vera_lambda_b", f"units.{site.slug}.vera_B", (site.d_out,)),
        )
    ]
    shapes = (config.r, max(site.d_in for site in sites)), (max(site.d_out for site in sites), config.r)
    pairs = zip(MATRICES.items(), shapes, strict=True)
    return [*found, *(Slot(theirs, ours, shape, whole=True) for (theirs, ours), shape in pairs)]


def told_vera(config: LoRAConfig) -> AdapterConfig:
    """What is scaled by nothing but its vectors."""
    return config.replace(alpha=config.r, use_rslora=False, rank_pattern=None, alpha_pattern=None)


def give_vera(config: LoRAConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """α/r is in the outer vectors there."""
    scale = scales(config, network)
    return {
        key: tensor * scale[key.split(".")[1]] if key.endswith(".vera_B") else tensor for key, tensor in tensors.items()
    }


def drawn(content: Mapping[str, Any], slots: list[Slot], tensors: Tensors) -> dict[str, Tensor]:
    """The matrices that a file without them names by a seed: Kaiming-uniform, the first drawn before the second."""
    if content.get("save_projection", True) is not False or tensors.keys() & MATRICES.keys():
        return {}
    key = content.get("projection_prng_key")
    generator = torch.Generator().manual_seed(0 if key is None else key)
    shapes = {slot.theirs: slot.shape for slot in slots}
    bounds = {name: math.sqrt(3) * (math.sqrt(2) / math.sqrt(shapes[name][1])) for name in MATRICES}
    return {name: torch.empty(shapes[name]).uniform_(-b, b, generator=generator) for name, b in bounds.items()}


KINDS.add(
    "VERA",
    Kind(
        lambda config: _is(config, "add+vera"),
        read_vera,
        write_vera,
        slots_vera,
        told_vera,
        give=give_vera,
        instead=drawn,
    ),
)
