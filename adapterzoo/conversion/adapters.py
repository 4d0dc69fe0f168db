"""What an adapter's directory holds. The model it is for need not be there: only names are compared."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from adapterzoo import head_files
from adapterzoo.adapter import Adapter
from adapterzoo.adapting import adapter_weights
from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.conversion import written_by
from adapterzoo.conversion.facts import misplaced, tensor_row, weights
from adapterzoo.conversion.heads import head_facts
from adapterzoo.conversion.sizes import fitted
from adapterzoo.core.blank import blank
from adapterzoo.core.config import NetworkConfig, StackConfig
from adapterzoo.core.fields import SIZE, wrong_fields
from adapterzoo.core.misfit import misfit
from adapterzoo.core.sites import sites_of
from adapterzoo.formats import Content, adapterhub
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.nn.transformer import Transformer
from adapterzoo.store import FileError, Source, read_json, read_tensors, require

_NUMBER = re.compile(r"\.(1?\d{1,2})(?=\.)")
"""A layer's number in a tensor's name. No network has 200: a name may say anything, and each layer is made."""


def adapter_facts(source: Source, allow_pickle: bool = False, network: NetworkConfig | None = None) -> dict[str, Any]:
    """What an adapter's directory holds, the head beside it included.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        network: the numbers of the model that it is for; without, they are told by the tensors' names and shapes, and a
            shape is wrong that does not go with the others.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: they cannot be read, or are of a method or an architecture that is not here.
    """
    path = require(source, adapterhub.CONFIG)
    stored = read_tensors(adapter_weights(source), allow_pickle)
    told = adapter_content(os.fspath(path), read_json(path), stored, network)
    start = {"kind": "adapter", "format": "adapterhub", "source": os.fspath(source)}
    return {**start, **told, "head": head_beside(source, allow_pickle)}


def adapter_content(
    where: str, content: Mapping[str, Any], stored: Mapping[str, Tensor], network: NetworkConfig | None
) -> dict[str, Any]:
    """What an adapter's JSON and its tensors tell.

    Args:
        where: where they lie, for messages.
        content: what the JSON holds.
        stored: the tensors by the file's names.
        network: see `adapter_facts`.

    Raises:
        ValueError: they are of a method or an architecture that is not here.
    """
    architecture, width = made_for(where, content)
    file = adapterhub.read_adapter_json(content, architecture, width if network is None else network.width)
    file = adapterhub.without_unused(file, content, stored)
    config, left_out = file.config.fitted(stored), False
    tensors = config.from_hub(stored)
    if network is None:
        network, left_out = guessed_network(architecture, width, tensors, file.name), bool(config.left_out)
        config = config.replace(leave_out=()) if left_out else config  # numbers of layers of a model that is not known
        network = network if left_out else sized(network, architecture, content, stored)
    adapter = _blank(config, network)
    names, second = adapterhub.tensor_names(adapter, file.name, architecture, network)
    placed = adapterhub.place(tensors, names, second, file.name, architecture)
    missing = _missing(names, placed.sources, left_out)
    wrong = [] if left_out else _misfits(adapter, tensors, placed.sources)
    return {
        "architecture": architecture.model_type,
        "name": file.name,
        "method": config.architecture or "bottleneck",
        "config": file.config.to_dict(),
        **written_by.origin(content, stored),
        "sizes": {"width": network.width, "layers": layers_of(placed.sources)},
        **weights(stored, [key for key in stored if key not in (*placed.unexpected, *placed.unused)]),
        "tensors": [
            tensor_row(stored, placed.sources[ours], ours)
            for ours in names.values()
            if placed.sources.get(ours) in stored
        ],
        "converted": sorted(set(stored) - set(tensors)),
        "unused": sorted(placed.unused),
        "unexpected": sorted(placed.unexpected),
        "missing": missing,
        "problems": sorted([*wrong, *misplaced(placed.unexpected, missing)]),
    }


def made_for(where: str, content: Mapping[str, Any]) -> tuple[Architecture, int]:
    """The architecture and the width that an adapter's or a fusion's JSON says that it is for.

    Raises:
        ValueError: it says none, or one that is not here.
    """
    if "model_type" not in content and "peft_type" not in content:
        raise FileError(f"{where} has no model_type: it does not say what models it is for")
    architecture = ARCHITECTURES[content.get("model_type", next(iter(ARCHITECTURES)))]
    architecture = architecture.under(architecture.config())
    width = content.get("hidden_size") or architecture.network(architecture.config()).width
    wrong = list(wrong_fields({"hidden_size": width}, {"hidden_size": int}, {"hidden_size": SIZE}))
    if wrong:
        raise FileError(f"{where}: {wrong[0]}")
    return architecture, width


def head_beside(source: Source, allow_pickle: bool) -> dict[str, Any] | None:
    """What is told of the head that lies in the same directory; None where there is none."""
    return head_facts(source, allow_pickle) if head_files.has_head(source) else None


def sized(
    network: NetworkConfig, architecture: Architecture, content: Mapping[str, Any], stored: Mapping[str, Tensor]
) -> NetworkConfig:
    """The network with the sizes that an adapter's tensors tell beside its width."""
    return fitted(network, architecture, Content("adapter", "adapterhub", dict(content), stored), True)


def guessed_network(architecture: Architecture, width: int, tensors: Mapping[str, Any], name: str) -> NetworkConfig:
    """A network with the layers that an adapter's tensors name; where they name none, with the usual ones."""
    usual: NetworkConfig = architecture.network(architecture.config())
    bare = [adapterhub.bare_name(key, architecture).replace(f".{name}.", ".") for key in tensors]
    stems = {".".join(parts[:end]) for key in bare for parts in [key.split(".")] for end in range(1, len(parts))}
    most = 1 + max((int(number) for key in bare for number in _NUMBER.findall(key)), default=0)
    probe = _with_layers(usual, width, dict.fromkeys(usual.stacks(), most))
    seen = dict.fromkeys(usual.stacks(), 0)
    for site in sites_of(probe):
        if architecture.hub_module(site) in stems:
            seen[site.stack] = max(seen[site.stack], site.depth + 1)
    usually = {stack: numbers.layers for stack, numbers in usual.stacks().items()}
    return _with_layers(usual, width, seen if any(seen.values()) else usually)


def _with_layers(network: NetworkConfig, width: int, layers: Mapping[str, int]) -> NetworkConfig:
    stacks: dict[str, StackConfig] = {
        stack: replace(numbers, width=width, heads=1, layers=layers[stack])
        for stack, numbers in network.stacks().items()
    }
    return replace(network, **stacks)  # type: ignore[arg-type]


def _blank(config: AdapterConfig, network: NetworkConfig) -> Adapter:
    """An adapter without values."""
    with blank():
        return Adapter(config, Transformer(network), initialise=False)


def _misfits(adapter: Adapter, tensors: Mapping[str, Tensor], sources: Mapping[str, str]) -> list[str]:
    """Which tensors are not as an adapter's must be, in words."""
    state = adapter.state_dict()
    wrong = {
        key: misfit(tensors[key], state[ours].shape, state[ours].is_floating_point()) for ours, key in sources.items()
    }
    return [f"{key} {why}" for key, why in wrong.items() if why]


def _layer(ours: str) -> str | None:
    """The layer of "units.encoder-0-mlp-join.…": "encoder-0"; None for what layers share."""
    match = re.match(r"units\.(\w+-\d+)-", ours)
    return match[1] if match else None


def layers_of(sources: Mapping[str, str]) -> dict[str, list[int]]:
    """The layers that have units of their own, by stack."""
    found: dict[str, set[int]] = {}
    for layer in filter(None, map(_layer, sources)):
        stack, _, index = layer.partition("-")
        found.setdefault(stack, set()).add(int(index))
    return {stack: sorted(indices) for stack, indices in found.items()}


def _missing(names: Mapping[str, str], sources: Mapping[str, str], some_left_out: bool) -> list[str]:
    """Their names of what is not there. Where layers were left out, one of which nothing is there may be such a one."""
    present = {_layer(ours) for ours in sources} | {None}
    lost = [theirs for theirs, ours in names.items() if ours not in sources]
    return sorted(theirs for theirs in lost if not some_left_out or _layer(names[theirs]) in present)
