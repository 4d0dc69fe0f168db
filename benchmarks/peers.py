"""The same adapter and head in our model and in adapters', exchanged through AdapterHub's files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import adapters
import torch

from adapterzoo import AutoAdapterModel

ADAPTERS = f"adapters {adapters.__version__}"


def same_in_both(folder: Path, methods: dict[str, Any], labels: int = 2, where: torch.device | None = None) -> Any:
    """A model of ours and one of adapters' with the same weights, adapters and classification heads.

    Args:
        folder: a checkpoint of a BERT.
        methods: configs of adapters by name; each gets a head of its name.
        labels: labels of each head.
        where: the device.

    Returns:
        Ours and theirs, in evaluation mode, nothing active.
    """
    torch.manual_seed(0)
    ours = AutoAdapterModel.from_pretrained(folder)
    theirs = adapters.AutoAdapterModel.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as files:
        for name, config in methods.items():
            ours.add_adapter(name, config)
            ours.add_classification_head(name, num_labels=labels)
            moved(ours.adapters[name])
            ours.save_adapter(Path(files) / name, name)
            theirs.load_adapter(str(Path(files) / name), use_safetensors=True)
    ours.active_head = None
    return ours.eval().to(where), theirs.eval().to(where)


@torch.no_grad()
def moved(module: torch.nn.Module) -> None:
    """Move an adapter away from its start, where most change nothing: an equality would say little."""
    for parameter in module.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.02)
