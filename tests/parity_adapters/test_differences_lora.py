"""Where LoRA's variants differ from the peer's on purpose: the law holds here, and there it does not.

docs/differences.md lists these; `pytest -rP` shows by how much the peer is off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.method_cases import each_distinct
from tests.helpers.peer_adapters import (
    adapters,
    hand_over,
    hidden,
    inputs_of,
    models,
    off,
    peer_parameters,
    real_positions,
    same,
)
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]
Folders = Callable[[Architecture], Path]
MLP = "selfattn_lora=False, intermediate_lora=True, output_lora=True"


@pytest.fixture
def fresh(base_dir: Folders) -> Pairs:
    """A function from an architecture to a pair of its own, whose weights a test may change."""
    return lambda architecture: Pair(*models(architecture, base_dir(architecture)))


def given(pair: Pair, config: str, folder: Path) -> None:
    """Give both models the same random adapter "a", active."""
    pair.theirs.add_adapter("a", config=adapters().AdapterConfig.load(config))
    randomise(nn.ParameterList(peer_parameters(pair.theirs, "a").values()), std=0.1)
    hand_over(pair.theirs, pair.ours, "a", folder)
    for model in pair:
        model.set_active_adapters("a")


def adapted(model: Any) -> list[tuple[Any, Any]]:
    """The peer's layers where "a" acts, and what acts there."""
    return [(module, module.loras["a"]) for module in model.modules() if "a" in getattr(module, "loras", {})]


@each_distinct
def test_dora_gives_the_rows_their_magnitudes_and_leaves_the_bias(
    fresh: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    pair, inputs = fresh(architecture), inputs_of(architecture)
    where = real_positions(inputs)
    given(pair, f"dora[{MLP}, r=4, alpha=6]", tmp_path)
    ours, theirs = hidden(pair.ours, inputs), hidden(pair.theirs, inputs)
    pair.theirs.set_active_adapters(None)
    for layer, unit in adapted(pair.theirs):
        moved = layer.weight.data + 6 / 4 * unit.lora_B.data @ unit.lora_A.data
        layer.weight.data = unit.m.weight.data * moved / moved.norm(dim=1, keepdim=True)
    law = hidden(pair.theirs, inputs)
    same(ours, law, where)
    off(theirs, law, where)


@each_distinct
@pytest.mark.parametrize("config", [f"dora[{MLP}, r=4, alpha=6]", f"ia3[{MLP}]"], ids=["dora", "ia3"])
def test_merging_changes_nothing(fresh: Pairs, architecture: Architecture, config: str, tmp_path: Path) -> None:
    pair, inputs = fresh(architecture), inputs_of(architecture)
    where = real_positions(inputs)
    given(pair, config, tmp_path)
    before = {model: hidden(model, inputs) for model in pair}
    for model in pair:
        model.merge_adapter("a")
    pair.ours.set_active_adapters(None)
    same(hidden(pair.ours, inputs), before[pair.ours], where)
    off(hidden(pair.theirs, inputs), before[pair.theirs], where)


@each_distinct
def test_vera_has_as_many_numbers_as_its_vectors(pairs: Pairs, architecture: Architecture) -> None:
    pair = pairs(architecture)
    pair.theirs.add_adapter("a", config="vera")
    pair.ours.add_adapter("a", "vera")
    theirs = [parameter for name, parameter in peer_parameters(pair.theirs, "a").items() if ".vera_" in name]
    ours, counted = pair.ours.adapters["a"], sum(parameter.size(0) for parameter in theirs)
    if "attn.q" not in architecture.places:  # whose projection is one there
        assert sum(parameter.numel() for parameter in ours.parameters()) == counted
    assert sum(parameter.numel() for parameter in theirs) > counted


@each_distinct
def test_veras_matrices_serve_layers_of_any_shape(pairs: Pairs, architecture: Architecture) -> None:
    pair, inputs = pairs(architecture), inputs_of(architecture)
    for model in pair:
        model.add_adapter("a", config=f"vera[{MLP}]")
        model.set_active_adapters("a")
    hidden(pair.ours, inputs)
    with pytest.raises(RuntimeError, match=r"shapes cannot be multiplied|must match"):
        hidden(pair.theirs, inputs)


@pytest.mark.parametrize("model_type", ["bert", "bart"])
def test_mtl_loras_weights_may_be_of_any_size(pairs: Pairs, model_type: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[model_type]
    pair, inputs = pairs(architecture), inputs_of(architecture)
    where = real_positions(inputs)
    given(pair, "mtl_lora[n_up_projection=2]", tmp_path)
    laws = {model: _first_alone(model, inputs, 1) for model in pair}  # e^(1/0.05) to 1
    same(_first_alone(pair.ours, inputs, 10), laws[pair.ours], where)
    assert _first_alone(pair.theirs, inputs, 10).isnan().any()
    same(laws[pair.ours], laws[pair.theirs], where)


def _first_alone(model: Any, inputs: dict[str, Tensor], ahead: float) -> Tensor:
    """The hidden states where the first of two matrices is so far ahead that it is alone."""
    for name, parameter in model.named_parameters():
        if name.endswith(".weights"):
            parameter.data.copy_(torch.tensor([ahead, 0.0]))
    return hidden(model, inputs)


@pytest.mark.parametrize("model_type", ["bert", "bart"])
def test_mtl_loras_inner_matrix_may_be_full(pairs: Pairs, model_type: str) -> None:
    architecture = ARCHITECTURES[model_type]
    pair = pairs(architecture)
    config = "mtl_lora[task_specific_matrix_type='linear', r=3]"
    with pytest.raises(AttributeError, match="cannot assign parameters before"):
        pair.theirs.add_adapter("b", config=adapters().AdapterConfig.load(config))
    pair.ours.add_adapter("a", config)
    unit = next(iter(pair.ours.adapters["a"].units.values()))
    assert torch.equal(unit.task_specific, torch.eye(3))


@pytest.mark.parametrize("model_type", ["bert", "bart"])
def test_mtl_lora_can_be_merged(fresh: Pairs, model_type: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[model_type]
    pair, inputs = fresh(architecture), inputs_of(architecture)
    given(pair, "mtl_lora[n_up_projection=2]", tmp_path)
    before = hidden(pair.ours, inputs)
    pair.ours.merge_adapter("a")
    pair.ours.set_active_adapters(None)
    same(hidden(pair.ours, inputs), before, real_positions(inputs))
    with pytest.raises(RuntimeError):
        pair.theirs.merge_adapter("a")
        hidden(pair.theirs, inputs)
