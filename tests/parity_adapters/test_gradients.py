"""Training: the same loss has the same gradient in every parameter of an adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo.archs import Architecture
from adapterzoo.formats.adapterhub import tensor_names
from tests.helpers.method_cases import CASES, MethodCase, each_architecture, each_method
from tests.helpers.peer_adapters import CLOSE, add_random, hand_over, inputs_of, peer_parameters, real_positions
from tests.parity_adapters.conftest import Pair


@each_architecture
@each_method(CASES)
def test_every_parameter_has_the_same_gradient(
    pairs: Callable[[Architecture], Pair], architecture: Architecture, case: MethodCase, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    add_random(pair.theirs, "a", case.theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    inputs = inputs_of(architecture, "none" if case.gated else "right")
    single = gradients(pair, architecture, inputs)
    largest = max(float(wanted.abs().max()) for _, wanted in single.values())
    for name, (found, wanted) in single.items():
        assert float((found - wanted).abs().max()) <= CLOSE * largest, name
    # With twice the digits, rounding cannot hide a small gradient that is wrong.
    for model in pair:
        model.double()
    double = gradients(pair, architecture, inputs)
    for model in pair:
        model.float()
    for name, (found, wanted) in double.items():
        assert float((found - wanted).abs().max()) <= 1e-10 * float(wanted.abs().max()), name


def gradients(pair: Pair, architecture: Architecture, inputs: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the gradients of our parameters and the peer's by the names in files."""
    for model in pair:
        model.train_adapter("a")
        model.zero_grad()
        loss(model, inputs).backward()
    found, wanted = our_parameters(pair.ours, "a", architecture), peer_parameters(pair.theirs, "a")
    assert {id(wanted[name]) for name in found} == set(map(id, wanted.values()))
    assert not any(parameter.requires_grad for parameter in pair.ours.base.parameters())
    return {name: (_gradient(mine), _gradient(wanted[name])) for name, mine in found.items()}


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def loss(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the sum of the last hidden states at real positions, each times a fixed random number."""
    hidden: Tensor = model(**inputs)[0]
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    where = real_positions(inputs)
    return (hidden * weights if where is None else (hidden * weights)[where]).sum()


def our_parameters(ours: Any, name: str, architecture: Architecture) -> dict[str, Tensor]:
    """Return our adapter's parameters by the names in files."""
    adapter = ours.adapters[name]
    names, _ = tensor_names(adapter, name, architecture, ours.base.config)
    parameters = dict(adapter.named_parameters())
    return {f"{architecture.prefix}.{theirs}": parameters[mine] for theirs, mine in names.items()}
