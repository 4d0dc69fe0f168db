"""What an adapter's directory in PEFT's format holds."""

from __future__ import annotations

import os
from typing import Any

from adapterzoo import peft_files
from adapterzoo.adapter import Adapter
from adapterzoo.conversion.facts import labels, tensor_row, weights
from adapterzoo.conversion.stand_ins import stand_ins, taken
from adapterzoo.core.sites import sites_of
from adapterzoo.formats import peft, read
from adapterzoo.store import Source


def peft_facts(source: Source, allow_pickle: bool = False, model_type: str | None = None) -> dict[str, Any]:
    """The same as `adapter_facts` tells of AdapterHub's files.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        model_type: the architecture, which the files do not say; all that it may be are told without.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: they cannot be read, or are of a method that is not here, or of another architecture's model.
    """
    content = read(peft_files.folder_of(source), allow_pickle)
    fitting = taken(stand_ins(content, model_type), source, allow_pickle=allow_pickle)
    model, name = fitting[0]
    adapter: Adapter = model.adapters[name]
    names = peft.tensor_names(adapter.config, model.architecture, model.base.config)
    stored = content.tensors
    placed = {key: names.get(_bare(key, model.architecture.stem)) for key in stored}
    heads = list(model.heads_of().values())
    used = [key for key, ours in placed.items() if ours is not None]
    return {
        "kind": "adapter",
        "format": "peft",
        "source": os.fspath(source),
        "architecture": " or ".join(one.architecture.model_type for one, _ in fitting),
        "name": name,
        "method": adapter.config.architecture or "bottleneck",
        "config": adapter.config.to_dict(),
        "version": content.config.get("peft_version"),
        "made_for": {"model_name": content.config.get("base_model_name_or_path")},
        "sizes": {"width": model.base.config.width, "layers": _layers(adapter, model)},
        **weights(stored, used),
        "tensors": [tensor_row(stored, key, ours) for key, ours in placed.items() if ours is not None],
        "converted": [],
        "unused": [],
        "unexpected": [],
        "missing": [],
        "head": None if not heads else _head(heads[0], stored, placed),
    }


def _head(head: Any, stored: Any, placed: dict[str, str | None]) -> dict[str, Any]:
    """The head beside it, which lies in the same file."""
    own = [key for key, ours in placed.items() if ours is None]
    return {
        "kind": "head",
        "source": "in the same file",
        "architecture": None,
        "name": head.name,
        "type": head.head_type,
        **labels(head.config.get("label2id")),
        **weights(stored, own),
        "tensors": [tensor_row(stored, key, f"heads.{head.name}") for key in own],
        "unused": [],
        "unexpected": [],
        "missing": [],
    }


def _bare(key: str, stem: str) -> str:
    """A tensor's name without what stands before modules' names."""
    inner = key.removeprefix(peft.STEM)
    return inner if inner == key else inner.removeprefix(stem)


def _layers(adapter: Adapter, model: Any) -> dict[str, list[int]]:
    """The layers that have units, by stack."""
    found: dict[str, set[int]] = {}
    for site in sites_of(model.base.config):
        if site.slug in adapter.units and site.depth >= 0:
            found.setdefault(site.stack, set()).add(site.depth)
    return {stack: sorted(numbers) for stack, numbers in found.items()}
