"""A seed in a config gives the numbers that it gives in the peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.method_cases import BN
from tests.helpers.peer_adapters import adapters, peer_parameters
from tests.parity_adapters.conftest import Pair
from tests.parity_adapters.test_gradients import our_parameters

STARTS: dict[str, dict[str, Any]] = {
    "bert": {"use_gating": True, "ln_before": True},
    "mam_adapter": {"use_gating": True, "is_parallel": True},
    "houlsby": {"scaling": "channel"},
}


@pytest.mark.parametrize("how", STARTS)
def test_a_seeded_bottleneck_starts_as_the_peers_does(pairs: Callable[[Architecture], Pair], how: str) -> None:
    theirs, ours = pairs(ARCHITECTURES["bert"])
    fields = {**BN, **STARTS[how], "init_weights": how, "init_weights_seed": 11}
    theirs.add_adapter("a", config=adapters().BnConfig(**fields))
    ours.add_adapter("a", adapterzoo.BnConfig(**fields))
    found, wanted = our_parameters(ours, "a"), peer_parameters(theirs, "a")
    assert found
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())
