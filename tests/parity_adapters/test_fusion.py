"""AdapterFusion gives what the peer gives: outputs, weights, gradients, and files both ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adapterzoo
from adapterzoo.archs import Architecture
from adapterzoo.formats.adapterhub_fusion import tensor_names
from tests.helpers.fusion_cases import (
    FUSIONS,
    FusionCase,
    add_random_fusion,
    each_fusion,
    fuse,
    fusion_parameters,
    set_temperature,
    tensors_of_outputs,
)
from tests.helpers.method_cases import CASES, each_distinct
from tests.helpers.peer_adapters import (
    CLOSE,
    adapters,
    distance,
    hidden,
    inputs_of,
    real_positions,
    same,
    skip_if_elsewhere,
)
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

FILES = {name: FUSIONS[name] for name in ("dynamic", "static", "nothing", "left out", "temperature")}


def skip_elsewhere(architecture: Architecture, case: FusionCase) -> None:
    """Skip what means something else in the peer."""
    for of in case.of:
        skip_if_elsewhere(architecture, CASES[of].ours)


@each_fusion
def test_outputs_and_weights(pairs: Pairs, architecture: Architecture, case: FusionCase, tmp_path: Path) -> None:
    skip_elsewhere(architecture, case)
    theirs, ours = pairs(architecture)
    name = fuse(theirs, ours, case, tmp_path)
    assert ours.fusions[name].config.to_dict() == case.ours.to_dict() == case.theirs.to_dict()
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    wanted = hidden(theirs, inputs)
    same(hidden(ours, inputs), wanted, where)
    ours.set_active_adapters(None)
    assert distance(hidden(ours, inputs), wanted, where) > 0.01


@each_distinct
@pytest.mark.parametrize("case", [FUSIONS["three"], FUSIONS["everywhere"]], ids=["three", "everywhere"])
def test_weights_in_the_outputs(pairs: Pairs, architecture: Architecture, case: FusionCase, tmp_path: Path) -> None:
    skip_elsewhere(architecture, case)
    if architecture.specialise is not None:
        pytest.skip("the peer counts the layers of each part of a pair from 0")
    theirs, ours = pairs(architecture)
    fuse(theirs, ours, case, tmp_path)
    inputs = inputs_of(architecture, "none")
    told = [
        model(**inputs, output_adapter_fusion_attentions=True).adapter_fusion_attentions for model in (theirs, ours)
    ]
    wanted, found = map(tensors_of_outputs, told)
    assert set(found) == set(wanted)
    for place, weights in wanted.items():
        same(found[place], weights)
        assert not torch.allclose(weights, torch.full_like(weights, 1 / len(case.of)), atol=1e-3)
    tuples = [model(**inputs, return_dict=False, output_adapter_fusion_attentions=True) for model in (theirs, ours)]
    assert [len(output) for output in tuples] == [len(tuples[0])] * 2
    assert set(tensors_of_outputs(tuples[1][-1])) == set(found)


@each_fusion
def test_gradients(pairs: Pairs, architecture: Architecture, case: FusionCase, tmp_path: Path) -> None:
    skip_elsewhere(architecture, case)
    if case.changes.get("dropout_prob"):
        pytest.skip("dropout draws other numbers")
    if not (case.ours.query or case.ours.key or case.ours.value):
        pytest.skip("it has no parameters")
    theirs, ours = pairs(architecture)
    name = fuse(theirs, ours, case, tmp_path)
    inputs = inputs_of(architecture)
    for model, fuse_block in ((theirs, adapters().Fuse), (ours, adapterzoo.Fuse)):
        model.train_adapter_fusion(fuse_block(*case.names))
        set_temperature(theirs, ours, name)
        loss(model.double(), inputs).backward()
    # Doubles, for in them rounding hides nothing; but the peer's DeBERTa has parts that round to float32 anyway.
    compare_gradients(theirs, ours, name, CLOSE if "relative_attention" in architecture.config.defaults else 1e-10)
    for model in (theirs, ours):
        model.float()
    if architecture.specialise is not None:
        return  # the peer does not know the width of a pair
    wanted, found = (model.get_fusion_regularization_loss() for model in (theirs, ours))
    assert (found is None) == (wanted is None) == (not case.ours.value)
    if found is not None:
        same(found.detach(), wanted.detach())


def compare_gradients(theirs: Any, ours: Any, name: str, within: float) -> None:
    """All gradients agree within a share of the largest, and nothing else has any."""
    fusion, stem = ours.fusions[name], ours.architecture.stem
    own, parameters = dict(fusion.named_parameters()), fusion_parameters(theirs, name)
    pairs = {
        key: (own[mine].grad, parameters[stem + key].grad)
        for key, mine in tensor_names(fusion, name, ours.architecture).items()
        if mine in own
    }
    given = [wanted for _, wanted in pairs.values() if wanted is not None]
    largest = max((float(wanted.abs().max()) for wanted in given), default=0.0)
    for key, (found, wanted) in pairs.items():
        assert (found is None) == (wanted is None), key  # where no adapter acts, the peer has one, too
        if found is None or wanted is None:
            continue
        assert float((found - wanted).abs().max()) <= within * largest, key
    kept = {id(parameter) for parameter in fusion.parameters()}
    others = [*ours.base.parameters(), *ours.adapters.parameters()]
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in others)
    assert all(id(p) in kept for p in ours.fusions.parameters() if p.requires_grad)


def loss(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the sum of the last hidden states at real positions, each times a fixed random number."""
    states = model(**inputs)[0]
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    where = real_positions(inputs)
    return (states * weights if where is None else (states * weights)[where]).sum()


@each_distinct
@pytest.mark.parametrize("case", FILES.values(), ids=list(FILES))
def test_a_fusion_saved_here_loads_there(
    pairs: Pairs, architecture: Architecture, case: FusionCase, tmp_path: Path
) -> None:
    skip_elsewhere(architecture, case)
    theirs, ours = pairs(architecture)
    for name, of in zip(case.names, case.of, strict=True):
        ours.add_adapter(name, CASES[of].ours)
        ours.save_adapter(tmp_path / name, name)
        theirs.load_adapter(str(tmp_path / name), use_safetensors=True)
    add_random_fusion(ours, case.names, case.ours)
    name = ",".join(case.names)
    for shared in ours.fusions[name].shared.values():
        shared.fall()
    ours.save_adapter_fusion(tmp_path / "fusion", case.names)
    folder = str(tmp_path / "fusion")
    theirs.add_adapter_fusion(case.names, case.theirs)
    for parameter in fusion_parameters(theirs, name).values():
        nn.init.normal_(parameter)  # to be overwritten
    theirs.load_adapter_fusion(folder, use_safetensors=True)
    state = theirs.state_dict()
    for key, mine in tensor_names(ours.fusions[name], name, ours.architecture).items():
        if not mine.startswith("shared."):
            assert torch.equal(state[ours.architecture.stem + key], ours.fusions[name].state_dict()[mine]), key
