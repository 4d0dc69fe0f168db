"""Pairs of models, the peer's and ours, with the same weights; made once for each architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from adapterzoo.archs import Architecture
from tests.helpers.hf_models import Case
from tests.helpers.method_cases import MethodCase
from tests.helpers.peer_adapters import models, save_hf, skip_if_elsewhere


class Pair(NamedTuple):
    """The peer's flexible model and ours."""

    theirs: Any
    ours: Any


@pytest.fixture(autouse=True)
def skip_what_means_something_else(request: pytest.FixtureRequest) -> None:
    """Skip what `skip_if_elsewhere` says, where a test's parameters tell it."""
    given = getattr(getattr(request.node, "callspec", None), "params", {})
    kind, case = given.get("architecture"), given.get("case")
    if isinstance(kind, Architecture) and isinstance(case, MethodCase):
        skip_if_elsewhere(kind, case.ours)


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Architecture], Path]:
    """A function from an architecture to the folder of a small bare checkpoint."""

    @cache
    def make(architecture: Architecture) -> Path:
        with torch.random.fork_rng():  # a test's random numbers do not depend on which test comes first
            torch.manual_seed(0)
            return save_hf(Case(architecture, None), tmp_path_factory.mktemp(architecture.name))

    return make


@pytest.fixture(scope="session")
def kept_pairs(base_dir: Callable[[Architecture], Path]) -> Callable[[Architecture], Pair]:
    """A function from an architecture to its pair, the same one each time."""

    @cache
    def make(architecture: Architecture) -> Pair:
        folder = base_dir(architecture)
        with torch.random.fork_rng():
            return Pair(*models(architecture, folder))

    return make


@pytest.fixture
def pairs(kept_pairs: Callable[[Architecture], Pair]) -> Iterator[Callable[[Architecture], Pair]]:
    """A function from an architecture to a pair without adapters and heads; it is emptied after the test."""
    used: list[Pair] = []

    def take(architecture: Architecture) -> Pair:
        used.append(kept_pairs(architecture))
        return used[-1]

    yield take
    for pair in used:
        empty(pair)


def empty(pair: Pair) -> None:
    """Take all adapters, fusions and heads away, and what training left."""
    for model in pair:
        model.set_active_adapters(None)
        for name in list(model.fusions if model is pair.ours else model.adapters_config.fusions):
            model.delete_adapter_fusion(name)
        names = model.adapters if model is pair.ours else model.adapters_config.adapters
        for name in list(names):
            model.delete_adapter(name)
        if hasattr(model, "delete_head"):
            model.active_head = None
            for name in list(model.heads):
                model.delete_head(name)
        model.zero_grad()
        model.freeze_model(False)
        model.eval()
