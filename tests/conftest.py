"""One setting for all tests: offline, seeded, one thread a worker; and the places of real weights."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.helpers import real

# Before anything imports huggingface_hub or tokenizers, which read these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A first call may take seconds: a deadline would judge the machine, not the code.
hypothesis.settings.register_profile("adapterzoo", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("adapterzoo")

torch.set_num_threads(1)  # the workers share the cores, and tiny models gain nothing from a second thread


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same random state, whatever ran before it."""
    random.seed(0)
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave a part of the largest products to `make test-slow`."""
    from tests.helpers import quick  # which imports the package, and that what reads the settings above

    quick.leave_for_slow(items)


def found_or_skip(place: Callable[..., Path], *names: str) -> Path:
    """Return the place, or skip the test with the reason why it is not there."""
    try:
        return place(*names)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data and checkpoints outside the repository."""
    return found_or_skip(real.shared_dir)


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    return found_or_skip(real.minilm_dir)


@pytest.fixture(scope="session")
def rxnfp_dir() -> Callable[[str], Path]:
    """A function from a name to the folder of one of rxnfp's BERTs."""
    return lambda name: found_or_skip(real.rxnfp_dir, name)


@pytest.fixture(scope="session")
def sapiens_dir() -> Path:
    """The folder of Sapiens' two RoBERTas over antibodies."""
    return found_or_skip(real.sapiens_dir)
