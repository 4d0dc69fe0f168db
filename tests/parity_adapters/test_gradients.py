"""Training: the same loss has the same gradient in every parameter of an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adapterzoo.archs import Architecture
from adapterzoo.formats.adapterhub import tensor_names
from tests.helpers.method_cases import CASES, PRESET_CASES, MethodCase, each_adapter
from tests.helpers.peer_adapters import CLOSE, add_random, inputs_of, last_states, peer_parameters, real_positions
from tests.parity_adapters.conftest import Pair


@each_adapter(CASES)
def test_every_parameter_has_the_same_gradient(
    pairs: Callable[[Architecture], Pair], architecture: Architecture, case: MethodCase
) -> None:
    pair = pairs(architecture)
    add_random(pair.theirs, "a", case.still.theirs)
    pair.ours.add_adapter("a", case.still.ours)
    give(pair, "a")
    inputs = inputs_of(architecture, "none" if case.unpadded else "right")
    if case in PRESET_CASES.values():  # what float32 adds is rounding, whatever the config
        single = gradients(pair, inputs)
        largest = max(float(wanted.abs().max()) for _, wanted in single.values())
        for name, (found, wanted) in single.items():
            assert float((found - wanted).abs().max()) <= CLOSE * largest, name
        if case.ours.get("suffix_positions") == 0:  # for which the peer makes zeros of float32, whatever the dtype is
            return
    # With twice the digits, rounding cannot hide a small gradient that is wrong; but the peer's DeBERTa has parts that
    # round to float32 whatever the dtype is.
    within = CLOSE if "relative_attention" in architecture.config.defaults else 1e-10
    for model in pair:
        model.double()
    double = gradients(pair, inputs)
    for model in pair:
        model.float()
    zero = 1e-13 * max(
        float(wanted.abs().max()) for _, wanted in double.values()
    )  # a softmax over one has a slope of 0
    for name, (found, wanted) in double.items():
        assert float((found - wanted).abs().max()) <= max(zero, within * float(wanted.abs().max())), name


def gradients(pair: Pair, inputs: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the gradients of our parameters and the peer's by the names in files."""
    for model in pair:
        model.train_adapter("a")
        model.zero_grad()
        loss(model, inputs).backward()
    found, wanted = our_parameters(pair.ours, "a"), peer_parameters(pair.theirs, "a")
    assert {id(wanted[name]) for name in found} == set(map(id, wanted.values()))
    assert not any(parameter.requires_grad for parameter in pair.ours.base.parameters())
    return {name: (gradient(mine), gradient(wanted[name])) for name, mine in found.items()}


def gradient(parameter: Tensor) -> Tensor:
    """Return a parameter's gradient, which is there."""
    assert parameter.grad is not None
    return parameter.grad.clone()  # or model.float() would make it one of float32, too


def give(pair: Pair, name: str) -> None:
    """Copy the peer's adapter to ours; files have tests of their own, and take time."""
    adapter, theirs = pair.ours.adapters[name], pair.theirs.state_dict()
    names, _ = tensor_names(adapter, name, pair.ours.architecture, pair.ours.base.config)
    stem = pair.ours.architecture.stem
    adapter.load_state_dict({mine: theirs[f"{stem}{key}"] for key, mine in names.items()})


def loss(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the sum of the last hidden states at real positions, each times a fixed random number."""
    hidden = last_states(model, inputs)
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    where = real_positions(inputs)
    return (hidden * weights if where is None else (hidden * weights)[where]).sum()


def our_parameters(ours: Any, name: str) -> dict[str, Tensor]:
    """Return our adapter's parameters by the names in files."""
    adapter = ours.adapters[name]
    names, _ = tensor_names(adapter, name, ours.architecture, ours.base.config)
    parameters = dict(adapter.named_parameters())
    stem = ours.architecture.stem
    return {f"{stem}{theirs}": parameters[mine] for theirs, mine in names.items() if mine in parameters}
