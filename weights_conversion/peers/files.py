"""What goes into a peer's process, and what comes back: tensors in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


class Asked(NamedTuple):
    """What a peer shall run.

    Attributes:
        source: the model's or the adapter's directory.
        base: the model that the adapter is for; "" where the source is a model.
        class_name: HF's class of the model, head included.
        labels: how many labels its head has; None where it has none.
    """

    source: str
    base: str
    class_name: str
    labels: int | None


def answer(load: Callable[[Asked], Any]) -> None:
    """Load a model, run it on the inputs, and write its outputs; the one word is the folder where all of it lies.

    Args:
        load: makes the peer's model.
    """
    folder = sys.argv[1]
    inputs = load_file(Path(folder, "inputs.safetensors"))
    model = load(Asked(**json.loads(Path(folder, "asked.json").read_text(encoding="utf-8")))).eval()
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, return_dict=True)
    save_file(dict(flat(output)), Path(folder, "outputs.safetensors"))


def flat(output: Any) -> list[tuple[str, Tensor]]:
    """Outputs by name, those of each layer by their numbers."""
    found: list[tuple[str, Tensor]] = []
    for name, value in output.items():
        several = value if isinstance(value, (tuple, list)) else None
        if isinstance(value, Tensor):
            found.append((name, value.contiguous().clone()))
        elif several is not None and all(isinstance(one, Tensor) for one in several):
            found += [(f"{name}.{number}", one.contiguous().clone()) for number, one in enumerate(several)]
    return found
