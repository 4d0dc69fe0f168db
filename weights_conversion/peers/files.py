"""What goes into a peer's process, and what comes back: tensors in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from adapterzoo.conversion.verification import flat


class Asked(NamedTuple):
    """What a peer shall run.

    Attributes:
        source: the model's or the adapter's directory.
        base: the model that the adapter is for; "" where the source is a model.
        class_name: HF's class of the model, head included.
        fields: what its config must say for its head.
    """

    source: str
    base: str
    class_name: str
    fields: dict[str, Any]


def answer(load: Callable[[Asked], Any]) -> None:
    """Load a model, run it on the inputs, and on those with labels, and write its outputs and its loss.

    The process's one argument is the folder where all of it lies.

    Args:
        load: makes the peer's model.
    """
    folder = sys.argv[1]
    inputs = load_file(Path(folder, "inputs.safetensors"))
    model = load(Asked(**json.loads(Path(folder, "asked.json").read_text(encoding="utf-8")))).eval()
    labelled = load_file(Path(folder, "labelled.safetensors"))
    with torch.no_grad():
        found = flat(model(**inputs, output_hidden_states=True, return_dict=True))
        if labelled:
            found["loss"] = model(**labelled, return_dict=True)["loss"]
    apart = {name: tensor.contiguous().clone() for name, tensor in found.items()}
    save_file(apart, Path(folder, "outputs.safetensors"))
