"""Two versions of a model, the ways to save them, and what is there afterwards: the one, the other, or a mixture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from adapterzoo import AutoAdapterModel, formats
from tests.helpers.adapting import add_random
from tests.helpers.converting import convert
from tests.helpers.tiny import NAMES, randomise, tiny_model


def version(number: int) -> Any:
    """One of two models that differ in every file that they write, config.json among them."""
    model = tiny_model(NAMES[0], note=f"version {number}")
    for name, rank in (("en", 2), ("mrpc", 3)):
        add_random(model, name, f"lora[r={rank + number}]")
    model.add_classification_head("mrpc", num_labels=2 + number)
    randomise(model.heads)
    model.set_active_adapters("mrpc")
    return model


def content(folder: Path) -> dict[str, Any]:
    """All that a saved model is, as it is read."""
    model = AutoAdapterModel.from_pretrained(folder)
    tensors = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    configs = {name: adapter.config for name, adapter in model.adapters.items()}
    return {"tensors": tensors, "config": model.config.to_dict(), "adapters": configs}


def adapter_content(folder: Path) -> dict[str, Any]:
    """All that a saved adapter and its head are."""
    model = tiny_model(NAMES[0])
    model.load_adapter(folder)
    tensors = {**model.adapters.state_dict(), **model.heads.state_dict()}
    found = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return {"tensors": found, "config": model.adapters.get("mrpc"), "head": model.heads["mrpc"].config}


class Case(NamedTuple):
    """A way to write one of two versions over the other.

    Attributes:
        write: writes version 0 or 1 to a folder.
        read: what is there, as it is read.
    """

    write: Callable[[int, Path], object]
    read: Callable[[Path], dict[str, Any]]


SHARD = 60_000
"""Bytes of a shard, of which the models have several."""

Way = Callable[[list[Any], list[Path]], Case]

WAYS: dict[str, Way] = {
    "save_pretrained": lambda models, sources: Case(lambda n, folder: models[n].save_pretrained(folder), content),
    "save_adapter": lambda models, sources: Case(
        lambda n, folder: models[n].save_adapter(folder, "mrpc"), adapter_content
    ),
    "convert": lambda models, sources: Case(lambda n, folder: convert(sources[n], folder, "--force"), content),
    "convert, sharded": lambda models, sources: Case(
        lambda n, folder: convert(sources[n], folder, "--force", "--shard-size", str(SHARD)), content
    ),
    "write, sharded": lambda models, sources: Case(
        lambda n, folder: formats.write(formats.read(sources[n]), folder, shard_size=SHARD), content
    ),
}
"""How to write either version, given the models and where they are saved."""


def case_of(name: str, folder: Path) -> Case:
    """A way to write the versions, which are saved below a folder in "source0" and "source1"."""
    torch.manual_seed(0)
    models = [version(number) for number in range(2)]
    sources = [folder / f"source{number}" for number in range(2)]
    for model, source in zip(models, sources, strict=True):
        model.save_pretrained(source)
    return WAYS[name](models, sources)


def versions_of(case: Case, folder: Path) -> list[dict[str, Any]]:
    """What each version is when nothing comes between; below a folder, they are "plain0" and "plain1" afterwards."""
    found = []
    for number in range(2):
        case.write(number, folder / f"plain{number}")
        found.append(case.read(folder / f"plain{number}"))
    for key in found[0]:
        assert found[0][key] != found[1][key]
    return found


def check(case: Case, folder: Path, versions: list[dict[str, Any]]) -> int:
    """Tell which version a folder holds, which must be one of the two and no mixture."""
    found = case.read(folder)
    assert found in versions, {key: [one[key] == found[key] for one in versions] for key in found}
    return versions.index(found)
