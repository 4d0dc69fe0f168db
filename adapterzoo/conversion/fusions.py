"""What an adapter fusion's directory holds. Neither the model nor the adapters need be there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from adapterzoo.conversion import written_by
from adapterzoo.conversion.adapters import guessed_network, head_beside, layers_of, made_for
from adapterzoo.conversion.facts import tensor_row, weights
from adapterzoo.core.blank import blank
from adapterzoo.core.config import NetworkConfig
from adapterzoo.formats import adapterhub_fusion
from adapterzoo.fusing import fusion_weights
from adapterzoo.fusion.config import FUSIONS, AdapterFusionConfig
from adapterzoo.nn.transformer import Transformer
from adapterzoo.store import Source, read_json, read_tensors, require


def fusion_facts(source: Source, allow_pickle: bool = False, network: NetworkConfig | None = None) -> dict[str, Any]:
    """What a fusion's directory holds, the head beside it included.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        network: the numbers of the model that it is for; without, the places are told by the tensors' names.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: they cannot be read, or are of an architecture that is not here.
    """
    path = require(source, adapterhub_fusion.CONFIG)
    stored = read_tensors(fusion_weights(source), allow_pickle)
    told = fusion_content(os.fspath(path), read_json(path), stored, network)
    start = {"kind": "fusion", "format": "adapterhub", "source": os.fspath(source)}
    return {**start, **told, "head": head_beside(source, allow_pickle)}


def fusion_content(
    where: str, content: Mapping[str, Any], stored: Mapping[str, Tensor], network: NetworkConfig | None
) -> dict[str, Any]:
    """What a fusion's JSON and its tensors tell; see `adapters.adapter_content`."""
    architecture, width = made_for(where, content)
    file = adapterhub_fusion.read_fusion_json(content, architecture, width if network is None else network.width)
    network = guessed_network(architecture, width, stored, file.name) if network is None else network
    with blank():
        fusion = adapterhub_fusion.fusion_of(file, stored, (), architecture, Transformer(network))
    placed = adapterhub_fusion.place(file, stored, fusion, architecture)
    names = adapterhub_fusion.tensor_names(fusion, file.name, architecture)
    return {
        "architecture": architecture.model_type,
        "name": file.name,
        "fuses": list(file.adapters),
        "method": _preset(file.config),
        "config": file.config.to_dict(),
        **written_by.origin(content, stored),
        "sizes": {"width": network.width, "layers": layers_of(placed.sources)},
        **weights(stored, placed.sources.values()),
        "tensors": [
            tensor_row(stored, placed.sources[ours], ours) for ours in names.values() if ours in placed.sources
        ],
        "unused": sorted(placed.unused),
        "unexpected": sorted(placed.unexpected),
        "missing": sorted(
            theirs
            for theirs, ours in names.items()
            if ours not in placed.sources and not ours.startswith("shared.")  # the temperature, which they do not save
        ),
        "problems": adapterhub_fusion.misfits(file, stored, fusion, architecture, placed),
    }


def _preset(config: AdapterFusionConfig) -> str:
    """The name of the ready config that it is."""
    own = config.to_dict()
    return next((name for name, preset in FUSIONS.items() if preset.to_dict() == own), "of its own")
