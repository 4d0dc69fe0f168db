"""A model to push from and to load into, a server for each file of tests, and calls to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo import AutoAdapterModel
from tests.errors.conftest import furnished
from tests.helpers.hub import Hub, call_from_outside, serving
from tests.helpers.tiny import NAMES, randomise
from tests.hub.calls import digests

Outcome = dict[str, Any]
Ask = Callable[..., dict[str, Outcome]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with adapters "en" and "mrpc", their fusion, and heads "mrpc" and "other"."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("start") / "model"
    model = furnished(NAMES[0])
    model.add_adapter("alone", config="lora[r=2]")  # without a head
    model.add_adapter_fusion(["en", "mrpc"])
    randomise(model.fusions)
    model.save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def bits(folder: Path) -> dict[str, Any]:
    """The bits of what that model has."""
    return digests(AutoAdapterModel.from_pretrained(folder))


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A server without repositories."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def ask(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Makes calls in a fresh process, by default with the server and a cache for this file of tests."""
    usual = tmp_path_factory.mktemp("home")

    def run(calls: dict[str, dict[str, Any]], home: Path = usual, **environment: str) -> dict[str, Outcome]:
        around = {"HF_ENDPOINT": hub.url, **environment}
        told = call_from_outside(list(calls.values()), home, "tests.hub.calls", **around)
        return dict(zip(calls, told, strict=True))

    return run
