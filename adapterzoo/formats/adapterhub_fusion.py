"""AdapterHub's files of an AdapterFusion, and of a setup: the config, and the names of the tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.archs.base import Architecture
from adapterzoo.core.compose import AdapterCompositionBlock
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import fits
from adapterzoo.core.misfit import misfit
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.formats import adapterhub
from adapterzoo.fusion import AdapterFusionConfig, Fusion
from adapterzoo.fusion.fusion import WHOLE
from adapterzoo.nn.transformer import Transformer

CONFIG = "adapter_fusion_config.json"
WEIGHTS = ("model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin")
SETUP = "adapter_setup.json"


class FusionFile(NamedTuple):
    """What an `adapter_fusion_config.json` says.

    Attributes:
        name: the fusion's name in the file's tensor names.
        adapters: the adapters that it is for.
        config: what it has.
    """

    name: str
    adapters: tuple[str, ...]
    config: AdapterFusionConfig


def fusion_json(
    name: str, fusion: Fusion, model_class: str, model_name: str, architecture: Architecture, width: int
) -> dict[str, Any]:
    """The content of `adapter_fusion_config.json`."""
    return {
        "adapter_names": list(fusion.names),
        "config": fusion.config.to_dict(),
        "hidden_size": width,
        "model_class": model_class,
        "model_name": model_name,
        "model_type": architecture.model_type,
        "name": name,
        "version": adapterhub.VERSION,
    }


def read_fusion_json(data: Mapping[str, Any], architecture: Architecture, width: int) -> FusionFile:
    """What an `adapter_fusion_config.json` says.

    Raises:
        ValueError: it is none, or for another kind of model; every problem is named.
    """
    problems = adapterhub.wrong_entries(data, architecture, width)
    names = data.get("adapter_names")
    if names is None:  # the first versions have the name alone
        names = str(data.get("name")).split(",")
    if not (names and fits(names, list[str])):
        problems.append(f"its adapter_names are {names!r}, not a list of names")
    config = None
    if isinstance(data.get("config"), Mapping):
        try:
            config = AdapterFusionConfig.from_dict(data["config"])
        except ValueError as error:
            problems.append(str(error))
    if problems or config is None:
        raise ValueError("the adapter fusion's config does not fit: " + "; ".join(problems))
    return FusionFile(data["name"], tuple(names), config)


def _stem(site: Site, name: str, architecture: Architecture) -> str:
    return f"{architecture.hub_module(site)}.adapter_fusion_layer.{name}".removeprefix(".")


def tensor_names(fusion: Fusion, name: str, architecture: Architecture) -> dict[str, str]:
    """Our name of each of a fusion's tensors by AdapterHub's, without the model's prefix.

    Args:
        fusion: the fusion.
        name: its name in the file.
        architecture: of its model.
    """
    stems = {f"units.{site.slug}": _stem(site, name, architecture) for site in fusion.sites}
    stems["shared.temperature"] = f"temperature.adapter_fusion_layer.{name}"  # their library does not save it
    found = {}
    for ours in fusion.state_dict():
        place, _, last = ours.rpartition(".")
        place, part = (place, "") if place in stems else place.rsplit(".", 1)
        found[".".join(filter(None, (stems[place], part, last)))] = ours
    return found


def export_fusion(fusion: Fusion, name: str, architecture: Architecture, prefixed: bool) -> dict[str, Tensor]:
    """A fusion's tensors under AdapterHub's names; see `adapterhub.export_adapter`."""
    tensors, prefix = fusion.state_dict(), architecture.stem if prefixed else ""
    return {prefix + theirs: tensors[ours].clone() for theirs, ours in tensor_names(fusion, name, architecture).items()}


def import_fusion(
    file: FusionFile,
    tensors: Mapping[str, Tensor],
    needed: Sequence[Site],
    architecture: Architecture,
    network: Transformer,
) -> Fusion:
    """The fusion that a file's tensors make.

    Args:
        file: what its config says.
        tensors: the file's tensors. It has the places that these name, and those that are needed.
        needed: where its adapters act, as far as they are known.
        architecture: of the model.
        network: the model's.

    Raises:
        ValueError: tensors are missing, not known, or of another shape; all are named.
    """
    fusion = fusion_of(file, tensors, needed, architecture, network)
    placed = place(file, tensors, fusion, architecture)
    problems = misfits(file, tensors, fusion, architecture, placed)
    if problems:
        raise ValueError(f"the adapter fusion {file.name!r} does not fit:\n  " + "\n  ".join(problems))
    fusion.load_state_dict({ours: tensors[key] for ours, key in placed.sources.items()}, strict=False)
    if "temperature" in fusion.shared and not any(ours.startswith("shared.") for ours in placed.sources):
        fusion.shared["temperature"].fall()  # type: ignore[operator]
    return fusion


def fusion_of(
    file: FusionFile, keys: Iterable[str], needed: Sequence[Site], architecture: Architecture, network: Transformer
) -> Fusion:
    """The fusion that a file is of, with values of its own: at the places that the file's names tell, and `needed`."""
    given = [adapterhub.bare_name(key, architecture) for key in keys]
    stems = {site: _stem(site, file.name, architecture) + "." for site in _places(network.config)}
    named = {key.rsplit(".", 2)[0] + "." for key in given if key.count(".") > 1}
    sites = [site for site, stem in stems.items() if site in needed or stem in named]
    return Fusion(file.config, file.adapters, sites, network)


def place(file: FusionFile, keys: Iterable[str], fusion: Fusion, architecture: Architecture) -> adapterhub.Placement:
    """Find the place of each of a file's tensors in its fusion."""
    names, placed = tensor_names(fusion, file.name, architecture), adapterhub.Placement({}, [], [])
    for key in keys:
        bare = adapterhub.bare_name(key, architecture)
        if bare in names:
            placed.sources[names[bare]] = key
        else:
            (placed.unused if _unused(bare, file) else placed.unexpected).append(key)
    return placed


def misfits(
    file: FusionFile,
    tensors: Mapping[str, Tensor],
    fusion: Fusion,
    architecture: Architecture,
    placed: adapterhub.Placement,
) -> list[str]:
    """Why a file's tensors do not make up its fusion, in words and in order. No values are looked at."""
    state, problems = fusion.state_dict(), [f"{key} has no place here" for key in placed.unexpected]
    for theirs, ours in tensor_names(fusion, file.name, architecture).items():
        if ours not in placed.sources:
            if not ours.startswith("shared."):
                problems.append(f"{theirs} is not there")
        elif wrong := misfit(tensors[placed.sources[ours]], state[ours].shape, state[ours].is_floating_point()):
            problems.append(f"{theirs} {wrong}")
    return sorted(problems)


def _places(network: NetworkConfig) -> list[Site]:
    """Where a fusion may act."""
    return [site for site in sites_of(network) if site.kind not in WHOLE and site.name != "unembed"]


def _unused(key: str, file: FusionFile) -> bool:
    """Whether it is of another fusion whose name begins alike, or one of the tensors that their library never uses."""
    if f"adapter_fusion_layer.{file.name}." not in f".{key}":
        return f"adapter_fusion_layer.{file.name}" in key
    config = file.config
    return not (config.query or config.key or config.value) and ".dense." in key


def setup_json(setup: AdapterCompositionBlock, heads: Any) -> dict[str, Any]:
    """The content of `adapter_setup.json`."""
    head_setup = heads.to_dict() if isinstance(heads, AdapterCompositionBlock) else heads
    return {"adapter_setup": setup.to_dict(), "head_setup": head_setup, "version": adapterhub.VERSION}


def read_setup_json(data: Mapping[str, Any]) -> tuple[AdapterCompositionBlock, Any]:
    """The composition and the heads that an `adapter_setup.json` describes.

    Raises:
        ValueError: it describes none; every problem is named.
    """
    problems, setup, heads = [], None, data.get("head_setup")
    try:
        setup = AdapterCompositionBlock.from_dict(data.get("adapter_setup", {}))
        heads = AdapterCompositionBlock.from_dict(heads) if isinstance(heads, dict) else heads
    except ValueError as error:
        problems.append(str(error))
    if not fits(heads, str | bool | list[str] | AdapterCompositionBlock | None):
        problems.append(f"its head_setup is {heads!r}, not a name, a list of names, True or a block")
    if problems or setup is None:
        raise ValueError("the adapter setup does not fit: " + "; ".join(problems))
    return setup, heads
