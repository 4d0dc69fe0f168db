"""PEFT's LORA (DoRA and rsLoRA among it): its fields and tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from adapterzoo.core.fields import CHANCE, SIZE
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.formats.peft.fields import Fields
from adapterzoo.formats.peft.kinds import KINDS, Kind, Slot, Tensors, covered, itself
from adapterzoo.formats.peft.places import Places, patterns
from adapterzoo.formats.peft.targets import chosen, is_pattern
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.methods.lora_config import LoRAConfig
from adapterzoo.methods.lora_files import read_plain, write_plain
from adapterzoo.nn.transformer import Transformer

STARTS = {True: "lora", False: "lora", "gaussian": "lora", "eva": "lora", "orthogonal": "lora", "pissa": "pissa"}
"""Ours for PEFT's `init_lora_weights`. Others have changed the model's weights in ways that cannot be had again."""


def takes(config: AdapterConfig) -> bool:
    """LoRA and DoRA."""
    return type(config).architecture == "lora" and config["composition_mode"] == "add" and config["vera_d"] is None


def read(fields: Fields, places: Places, stem: str) -> AdapterConfig:
    """LoRAConfig for the modules that the file names."""
    rank, strength = fields.get("r", int, 8, SIZE), fields.get("lora_alpha", float, 8)
    found = chosen(fields, places, ("linear", "lookup"), stem)
    ranks, strengths = (_by_site(fields, name, kind, found, places, stem) for name, kind in _PATTERNS.items())
    dora = fields.get("use_dora", bool, False)
    if dora and any(site.kind == "lookup" for site in found):
        fields.problems.append("its use_dora at a token embedding cannot be had: there is DoRA at linear maps alone")
    start = _start(fields, found)
    fields.only("bias", "none")
    fields.only("lora_bias", False)
    fields.ignore("megatron_core", "qalora_group_size", "loftq_config", "eva_config", "corda_config", "lora_ga_config")
    dropout, rslora = fields.get("lora_dropout", float, 0.0, CHANCE), fields.get("use_rslora", bool, False)
    return fields.made(
        lambda: LoRAConfig(
            r=rank,
            alpha=strength,
            dropout=dropout,
            use_rslora=rslora,
            use_dora=dora,
            init_weights=start,
            rank_pattern=_told(ranks, found, places) or None,
            alpha_pattern=_told(strengths, found, places) or None,
            **acting_at(found, places),
        )
    )


_PATTERNS: Mapping[str, Any] = {"rank_pattern": int, "alpha_pattern": float}


def _start(fields: Fields, found: list[Site]) -> str:
    """What ours calls the way in which the adapter began."""
    given: bool | str = fields.get("init_lora_weights", bool | str, True)
    if given not in STARTS:
        fields.problems.append(
            f"its init_lora_weights is {given!r}: it began with weights of the model that were changed; let peft save "
            "it with path_initial_model_for_weight_conversion"
        )
    elif given == "pissa" and any(site.kind == "lookup" for site in found):
        fields.problems.append("its init_lora_weights is 'pissa', but it acts on a token embedding, too")
    return STARTS.get(given, "lora")


def acting_at(sites: list[Site], places: Places) -> dict[str, Any]:
    """The fields of a LoRAConfig that acts at these sites: AdapterHub's switches where they can say it, or patterns."""
    names, network = {site.name for site in sites}, places.network
    parts = tuple(part for part in "qkv" if names & {f"attn.{part}", f"cross.{part}"})
    switches: dict[str, Any] = {
        "selfattn_lora": bool(parts),
        "attn_matrices": parts or ("q", "v"),
        "intermediate_lora": "mlp.up" in names,
        "output_lora": "mlp.down" in names,
        "leave_out": tuple(sorted(set(range(network.layers)) - {site.layer for site in sites})),
    }
    made = LoRAConfig(**switches)
    same = {site for site in places.every if made.covers(site, network)} == set(sites)
    return switches if same else {"sites": patterns(sites, network)}


def _by_site(
    fields: Fields, name: str, kind: Any, sites: list[Site], places: Places, stem: str
) -> dict[Site, int | float]:
    """The value of the first of a field's patterns that is a whole ending of a module's name, for each site."""
    given: Mapping[str, Any] = fields.get(name, Mapping[str, kind], {})
    wrong = [pattern for pattern in given if not is_pattern(pattern)]
    if wrong or not given:
        fields.problems += [f"{pattern!r} in its {name} is no regular expression" for pattern in wrong]
        return {}
    found = {}
    for site in sites:
        full = stem + places.names[site]
        pattern = next((one for one in given if re.match(rf"(.*\.)?({one})$", full)), None)
        if pattern is not None:
            found[site] = given[pattern]
    return found


def _told(values: Mapping[Site, int | float], sites: list[Site], places: Places) -> dict[str, Any]:
    """Values by our patterns."""
    told: dict[str, Any] = {}
    for value in dict.fromkeys(values.values()):
        told |= dict.fromkeys(patterns([site for site in sites if values.get(site) == value], places.network), value)
    return told


def told(config: LoRAConfig) -> AdapterConfig:
    """What subtracts the product that it began with is LoRA of twice the rank to others."""
    if config.init_weights != "pissa":
        return config
    factor = math.sqrt(2) if config.use_rslora else 2
    return config.replace(
        init_weights="lora",
        r=2 * config.r,
        alpha=factor * config.alpha,
        rank_pattern={pattern: 2 * rank for pattern, rank in (config.rank_pattern or {}).items()},
        alpha_pattern={pattern: factor * alpha for pattern, alpha in (config.alpha_pattern or {}).items()},
    )


def write(config: LoRAConfig, places: Places) -> dict[str, Any]:
    """The fields of a file."""
    if config.use_gating:
        raise ValueError("PEFT's LoRA has no gate (use_gating)")
    sites = list(covered(config, places))
    return {
        "r": config.r,
        "lora_alpha": whole(config.alpha),
        "lora_dropout": config.dropout,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "target_modules": places.named(sites),
        "rank_pattern": _patterns({site: config.rank(site) for site in sites}, config.r, places),
        "alpha_pattern": _patterns({site: config.strength(site) for site in sites}, config.alpha, places),
        "bias": "none",
    }


def whole(value: float) -> float:
    """A number as JSON has it where it is whole, and not so large that few whole numbers are as near to it."""
    return int(value) if float(value).is_integer() and abs(value) < 1 << 53 else value


def _patterns(values: Mapping[Site, int | float], usual: float, places: Places) -> dict[str, int | float]:
    """PEFT's patterns for the sites whose value is not the usual one."""
    found: dict[str, int | float] = {}
    for value in dict.fromkeys(values.values()):
        if value != usual:
            same = [site for site, one in values.items() if one == value]
            found |= dict.fromkeys(map(re.escape, places.named(same)), whole(value))
    return found


def slots(config: LoRAConfig, places: Places) -> list[Slot]:
    """A and B for each module, and DoRA's magnitudes."""
    found = []
    for site, name in covered(config, places).items():
        rank, ours = config.rank(site), f"units.{site.slug}"
        a, b = ("lora_embedding_A", "lora_embedding_B") if site.kind == "lookup" else ("lora_A.weight", "lora_B.weight")
        found.append(Slot(f"{name}.{a}", f"{ours}.lora_A", (rank, site.d_in)))
        found.append(Slot(f"{name}.{b}", f"{ours}.lora_B", (site.d_out, rank)))
        if config.use_dora:
            found.append(Slot(f"{name}.lora_magnitude_vector", f"{ours}.magnitude", (site.d_out,)))
    return found


def give(config: LoRAConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """What PiSSA subtracts is further rows of A and columns of B."""
    return write_plain(config, tensors)


def receive(config: LoRAConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """The inverse, where there are such rows; PEFT's own files of PiSSA have none."""
    ranks = {f"units.{site.slug}.lora_A": config.rank(site) for site in sites_of(network.config)}
    widened = any(len(tensors[key]) == 2 * rank for key, rank in ranks.items() if key in tensors)
    return read_plain(config, tensors) if widened else dict(tensors)


KINDS.add("LORA", Kind(takes, read, write, slots, told, itself, receive, give))
