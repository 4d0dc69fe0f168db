"""Models to be refused things: with adapters, heads and something active, so that there is much to spoil."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.adapting import add_random
from tests.helpers.tiny import NAMES, randomise, tiny_model


def furnished(architecture: str) -> Any:
    """A tiny flexible model with adapters "en" and "mrpc", heads "mrpc" and "other", and "mrpc" of each active."""
    model = tiny_model(architecture)
    add_random(model, "en", "lora[r=4]")
    add_random(model, "mrpc", "seq_bn")
    model.add_classification_head("other", num_labels=2)
    model.add_classification_head("mrpc", num_labels=3, id2label={0: "no", 1: "yes", 2: "maybe"})
    randomise(model.heads)
    model.train_adapter("mrpc")
    assert model.active_head == "mrpc"
    return model.eval()


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> Any:
    """A furnished model of each architecture."""
    return furnished(request.param)


@pytest.fixture
def one_model() -> Any:
    """A furnished model of the first architecture, where the architecture makes no difference."""
    return furnished(NAMES[0])
