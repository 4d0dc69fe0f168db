"""DoRA, VeRA and DvoRA, which the peer computes otherwise: where both are the same, they agree, and so do files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.methods.base import resolve_config
from tests.helpers import adapting
from tests.helpers.hf_models import Case, peer
from tests.helpers.method_cases import MethodCase, each_method
from tests.helpers.peer_adapters import (
    fields,
    hand_over,
    hidden,
    inputs_of,
    models,
    peer_parameters,
    real_positions,
    same,
)
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair, empty
from tests.parity_adapters.test_gradients import gradient, loss, our_parameters

FAMILY: dict[str, MethodCase] = {
    "dora": MethodCase("dora"),
    "dora-qkv": MethodCase("DoRAConfig", {"attn_matrices": ["q", "k", "v"], "r": 3, "alpha": 3}),
    "dora-mlp": MethodCase("DoRAConfig", {"selfattn_lora": False, "intermediate_lora": True, "output_lora": True}),
    "vera": MethodCase("vera"),
    "vera-scaled": MethodCase("VeraConfig", {"r": 3, "alpha": 7, "attn_matrices": ["k"]}),
    "vera-gate": MethodCase("VeraConfig", {"use_gating": True}),
    "dvora": MethodCase("dvora"),
}
"""With α = r where there are magnitudes, for the peer's norm is that of W + BA without α/r."""

MODELS = ("bert", "roberta", "xlm-roberta", "bart", "mbart")
each_model = pytest.mark.parametrize("model_type", MODELS)
Unbiased = Callable[[str], Pair]


@pytest.fixture(scope="module")
def kept_unbiased(tmp_path_factory: pytest.TempPathFactory) -> Unbiased:
    """A function from an architecture to models whose projections have no bias, for the peer scales it, too."""

    @cache
    def make(model_type: str) -> Pair:
        architecture, folder = ARCHITECTURES[model_type], tmp_path_factory.mktemp(model_type)
        model = peer(Case(architecture, None), **fields(architecture))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.bias.data.zero_()
        model.save_pretrained(folder)
        return Pair(*models(architecture, folder))

    return make


@pytest.fixture
def unbiased(kept_unbiased: Unbiased) -> Iterator[Unbiased]:
    """The same, without adapters; they are taken away after the test."""
    used: list[Pair] = []

    def take(model_type: str) -> Pair:
        used.append(kept_unbiased(model_type))
        return used[-1]

    yield take
    for pair in used:
        empty(pair)
        pair.theirs.adapters_config._vera_init_shapes.clear()  # which the peer keeps of adapters that are gone


def add_diagonal(theirs: Any, config: Any) -> None:
    """Give the peer's model a random adapter "a" whose matrices of VeRA are diagonal."""
    theirs.add_adapter("a", config=config)
    parameters = peer_parameters(theirs, "a")
    randomise(nn.ParameterList(parameters.values()), std=0.1)
    for key, parameter in parameters.items():
        if key.rpartition(".")[2] in ("vera_D", "vera_B"):
            parameter.data.copy_(parameter.data.diagonal().diag())


def same_outputs(pair: Pair, model_type: str, unpadded: bool) -> None:
    """Both give the same with "a" active, and something else without."""
    inputs = inputs_of(ARCHITECTURES[model_type], "none" if unpadded else "right")
    where = real_positions(inputs)
    pair.ours.set_active_adapters(None)
    bare = hidden(pair.ours, inputs)
    for model in pair:
        model.set_active_adapters("a")
    found = hidden(pair.ours, inputs)
    same(found, hidden(pair.theirs, inputs), where)
    assert float((found - bare).abs().max()) > 0.01


@each_model
@each_method(FAMILY)
def test_an_adapter_saved_by_the_peer_loads_here(
    unbiased: Unbiased, model_type: str, case: MethodCase, tmp_path: Path
) -> None:
    pair = unbiased(model_type)
    add_diagonal(pair.theirs, case.theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    assert pair.ours.adapters_config.get("a") == case.ours
    same_outputs(pair, model_type, case.unpadded)


@each_model
@each_method(FAMILY)
def test_an_adapter_saved_here_loads_there(
    unbiased: Unbiased, model_type: str, case: MethodCase, tmp_path: Path
) -> None:
    pair = unbiased(model_type)
    adapting.add_random(pair.ours, "a", case.ours)
    pair.ours.save_adapter(tmp_path, "a")
    report: dict[str, list[str]] = {}
    pair.theirs.load_adapter(str(tmp_path), use_safetensors=True, loading_info=report)
    assert not report["unexpected_keys"] and not report["missing_keys"]
    same_outputs(pair, model_type, case.unpadded)
    pair.theirs.save_adapter(str(tmp_path / "theirs"), "a")
    written = load_file(tmp_path / "adapter.safetensors")
    wanted = torch.load(tmp_path / "theirs" / "pytorch_adapter.bin", weights_only=True)
    assert written.keys() == wanted.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in wanted.items())


@each_model
@each_method({name: case for name, case in FAMILY.items() if name.startswith("vera")})
def test_veras_vectors_have_the_gradients_of_the_diagonals(
    unbiased: Unbiased, model_type: str, case: MethodCase, tmp_path: Path
) -> None:
    pair = unbiased(model_type)
    add_diagonal(pair.theirs, case.theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    inputs = inputs_of(ARCHITECTURES[model_type], "none" if case.unpadded else "right")
    found, wanted = slopes(pair, inputs)
    assert len(found) == len([name for name in wanted if "shared_parameters" not in name])
    for name, slope in found.items():
        theirs = wanted[name].diagonal() if slope.dim() < wanted[name].dim() else wanted[name]
        assert float((slope - theirs).abs().max()) <= 1e-10 * float(theirs.abs().max()), name


@each_model
@each_method({name: case for name, case in FAMILY.items() if case.ours["use_dora"]})
def test_magnitudes_have_the_same_gradients(
    unbiased: Unbiased, model_type: str, case: MethodCase, tmp_path: Path
) -> None:
    pair = unbiased(model_type)
    add_diagonal(pair.theirs, case.theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    found, wanted = slopes(pair, inputs_of(ARCHITECTURES[model_type]))
    names = [name for name in found if name.endswith(".m.weight")]
    assert len(names) == len(pair.ours.adapters["a"].units)
    for name in names:
        assert float((found[name] - wanted[name]).abs().max()) <= 1e-10 * float(wanted[name].abs().max()), name


def slopes(pair: Pair, inputs: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Our gradients and the peer's by the names in files, of doubles, where rounding cannot hide what is wrong."""
    for model in pair:
        model.double()
        model.train_adapter("a")
        model.zero_grad()
        loss(model, inputs).backward()
    found = {name: gradient(parameter).clone() for name, parameter in our_parameters(pair.ours, "a").items()}
    wanted = {key: p.grad.clone() for key, p in peer_parameters(pair.theirs, "a").items() if p.grad is not None}
    for model in pair:
        model.float()
    return found, wanted


@each_model
@each_method({name: case for name, case in FAMILY.items() if case.ours.vera_d is not None})
def test_matrices_that_the_peer_has_trained_are_multiplied_out(
    unbiased: Unbiased, model_type: str, case: MethodCase, tmp_path: Path
) -> None:
    pair = unbiased(model_type)
    pair.theirs.add_adapter("a", config=case.theirs)
    randomise(nn.ParameterList(peer_parameters(pair.theirs, "a").values()), std=0.1)
    hand_over(pair.theirs, pair.ours, "a", tmp_path / "theirs")
    assert pair.ours.adapters_config.get("a") == case.ours.replace(vera_d=None, vera_b=None, init_weights="lora")
    same_outputs(pair, model_type, case.unpadded)
    pair.ours.save_adapter(tmp_path / "ours", "a")
    pair.theirs.load_adapter(str(tmp_path / "ours"), use_safetensors=True, overwrite_ok=True)
    same_outputs(pair, model_type, case.unpadded)


WORDED_OTHERWISE = {
    "rslora": "lora[r=4, alpha=6, use_rslora=True]",
    "pissa": "lora[r=4, alpha=6, init_weights='pissa', intermediate_lora=True]",
    "rank-stabilised pissa": "lora[r=3, alpha=5, init_weights='pissa', use_rslora=True]",
    "orthogonal": "lora[init_weights='orthogonal']",
}


@each_model
@pytest.mark.parametrize("config", WORDED_OTHERWISE.values(), ids=list(WORDED_OTHERWISE))
def test_what_the_peer_has_no_words_for_is_written_in_those_it_has(
    unbiased: Unbiased, model_type: str, config: str, tmp_path: Path
) -> None:
    pair = unbiased(model_type)
    adapting.add_random(pair.ours, "a", resolve_config(config))
    pair.ours.save_adapter(tmp_path, "a")
    before = adapting.tensors_of(pair.ours.adapters["a"])
    pair.theirs.load_adapter(str(tmp_path), use_safetensors=True)
    same_outputs(pair, model_type, False)
    pair.ours.delete_adapter("a")
    pair.ours.load_adapter(tmp_path)
    assert pair.ours.adapters_config.get("a") == resolve_config(config)
    assert adapting.same_bits(adapting.tensors_of(pair.ours.adapters["a"]), before)
    pair.theirs.save_adapter(str(tmp_path / "again"), "a")
    pair.ours.load_adapter(tmp_path / "again", overwrite_ok=True)
    same_outputs(pair, model_type, False)
