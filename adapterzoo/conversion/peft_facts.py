"""What an adapter's directory in PEFT's format holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from adapterzoo import peft_files
from adapterzoo.adapter import Adapter
from adapterzoo.archs import Architecture
from adapterzoo.conversion import written_by
from adapterzoo.conversion.facts import labels, tensor_row, weights
from adapterzoo.conversion.stand_ins import stand_ins, taken
from adapterzoo.core.registry import NamedModules
from adapterzoo.core.sites import sites_of
from adapterzoo.formats import peft, read
from adapterzoo.formats.peft.adapter import PROMPT_STEM, STEM
from adapterzoo.formats.peft.heads import head_of
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
    placed = {key: names.get(peft.bare_name(key, model.architecture)) for key in stored}
    heads = list(model.heads_of().values())
    beside = _head_names(model.architecture, content.config, [key for key, ours in placed.items() if ours is None])
    used = [key for key, ours in placed.items() if ours is not None]
    architecture = " or ".join(one.architecture.model_type for one, _ in fitting)
    return {
        "kind": "adapter",
        "format": "peft",
        "source": os.fspath(source),
        "architecture": architecture,
        "name": name,
        "method": adapter.config.architecture or "bottleneck",
        "config": adapter.config.to_dict(),
        "version": content.config.get("peft_version"),
        "library": written_by.named("peft", content.config.get("peft_version")),
        "made_for": {"model_name": content.config.get("base_model_name_or_path")},
        "sizes": {"width": model.base.config.width, "layers": _layers(adapter, model)},
        **weights(stored, used),
        "tensors": [tensor_row(stored, key, ours) for key, ours in placed.items() if ours is not None],
        "converted": sorted(set(stored) - set(used) - set(beside)),  # weights of the model's that it brings along
        "unused": [],
        "unexpected": [],
        "missing": [],
        "problems": [],
        "head": None if not heads else _head(source, heads[0], stored, beside, architecture),
    }


def _head_names(architecture: Architecture, config: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """What the tensors of the head in the same file are called in that head, by their names there."""
    theirs = {key: key.removeprefix(STEM if key.startswith(STEM) else PROMPT_STEM) for key in keys}
    known = {
        key: name
        for key, name in theirs.items()
        if any(
            kind.keymap.to_ours(name) for static in architecture.statics for kind in (static, *static.unless.values())
        )
    }
    static = head_of(config, dict.fromkeys(known.values()), architecture, None)
    targets = {key: None if static is None else static.keymap.to_ours(name) for key, name in known.items()}
    return {key: target.ours for key, target in targets.items() if target is not None}


def _head(
    source: Source, head: Any, stored: Mapping[str, Tensor], names: Mapping[str, str], architecture: str
) -> dict[str, Any]:
    """The head beside it, which lies in the same file."""
    stem = f"heads.{NamedModules.slug(head.name)}"
    return {
        "kind": "head",
        "format": "peft",
        "source": os.fspath(source),
        "architecture": architecture,
        "name": head.name,
        "type": head.head_type,
        **labels(head.config.get("label2id")),
        **weights(stored, names),
        "tensors": [tensor_row(stored, key, f"{stem}.{ours}") for key, ours in names.items()],
        "unused": [],
        "unexpected": [],
        "missing": [],
        "problems": [],
    }


def _layers(adapter: Adapter, model: Any) -> dict[str, list[int]]:
    """The layers that have units, by stack."""
    found: dict[str, set[int]] = {}
    for site in sites_of(model.base.config):
        if site.slug in adapter.units and site.depth >= 0:
            found.setdefault(site.stack, set()).add(site.depth)
    return {stack: sorted(numbers) for stack, numbers in found.items()}
