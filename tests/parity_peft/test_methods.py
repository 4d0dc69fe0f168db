"""Every method that PEFT and this package both have goes through files in both directions, with the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from adapterzoo import IA3Config, Stack
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import CONFIGS, add_random, same_bits, tensors_of
from tests.helpers.hf_models import Case
from tests.helpers.peer_adapters import CLOSE, distance, hidden, real_positions, same
from tests.helpers.peft_adapters import (
    CASES,
    NAMES,
    QUIET,
    batch_of,
    named_gradients,
    opened,
    our_gradients,
    small_peer,
    wrapped,
)

pytestmark = QUIET
WEIGHTS = "adapter_model.safetensors"
WRITTEN = {
    **{kind: CONFIGS[kind] for kind in ("lora", "lora_all", "lora_by_pattern", "dora", "ia3", "vera", "vera_all")},
    "ln_tuning": CONFIGS["ln_tuning"],
    "ia3_inputs": IA3Config(sites=["*.k", "*.v", "mlp.down"], input_sites="mlp.down", alpha=2),
}
"""What PEFT has, too, of all that there is here."""


FEW = {"distilbert": ("lora-everywhere", "ln", "lora_by_pattern"), "electra": ("lora-words", "ia3", "vera_all")}
"""Of architectures that have BERT's layers under other names, and of ours for these, a sample."""


def each_of(cases: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise a test over architectures and cases."""
    both = [(name, case) for name in NAMES for case in cases if case in FEW.get(name, cases)]
    return pytest.mark.parametrize(("pair", "case"), both, indirect=["pair"])


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return small_peer(Case(ARCHITECTURES[request.param], None))


def same_outputs(theirs: Any, ours: Any) -> None:
    """Both give the same with the adapter, and something else than without."""
    inputs = batch_of(ours.architecture.model_type)
    where = real_positions(inputs)
    with torch.no_grad():
        expected = theirs(**inputs)[0]
    ours.set_active_adapters(None)
    bare = hidden(ours, inputs)
    ours.set_active_adapters("a")
    same(hidden(ours, inputs), expected, where)
    assert distance(bare, expected, where) > 0.001


def same_gradients(theirs: Any, ours: Any) -> None:
    inputs = batch_of(ours.architecture.model_type)
    where = real_positions(inputs)
    weights = torch.randn(32)
    for model in (theirs, ours):
        (model(**inputs)[0][where] * weights).sum().backward()
    expected, found = named_gradients(theirs, ours.architecture.stem), our_gradients(ours, "a")
    assert expected.keys() == found.keys()
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in expected.items():
        apart = float((found[name].reshape(grad.shape) - grad).abs().max())
        assert apart <= CLOSE * largest, f"{name}: {apart} of {largest}"


def close_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-6, atol=1e-6)


@each_of(CASES)
def test_an_adapter_that_peft_wrote_computes_the_same_here(pair: Any, case: str, tmp_path: Path) -> None:
    model, ours = pair
    theirs = wrapped(model, CASES[case](ours.architecture))
    theirs.save_pretrained(tmp_path)
    assert ours.load_adapter(tmp_path, load_as="a") == "a"
    same_outputs(theirs, ours)
    same_gradients(theirs, ours)


@each_of(CASES)
def test_what_peft_wrote_is_written_again_with_the_same_tensors(pair: Any, case: str, tmp_path: Path) -> None:
    model, ours = pair
    wrapped(model, CASES[case](ours.architecture)).save_pretrained(tmp_path / "theirs")
    ours.load_adapter(tmp_path / "theirs", load_as="a")
    ours.save_adapter(tmp_path / "ours", "a", to="peft")
    ours.load_adapter(tmp_path / "ours", load_as="b")
    first, second = (load_file(tmp_path / folder / WEIGHTS) for folder in ("theirs", "ours"))
    if case == "vera-drawn":  # what is drawn there is written here
        first = {**{name: second[name] for name in ("base_model.vera_A", "base_model.vera_B")}, **first}
    if case != "lora-pissa":  # which becomes LoRA of twice the rank
        close_tensors(dict(sorted(first.items())), dict(sorted(second.items())))
        assert ours.adapters["a"].config == ours.adapters["b"].config
        close_tensors(tensors_of(ours.adapters["a"]), tensors_of(ours.adapters["b"]))


@each_of(WRITTEN)
def test_an_adapter_written_here_computes_the_same_in_peft(pair: Any, case: str, tmp_path: Path) -> None:
    model, ours = pair
    add_random(ours, "a", WRITTEN[case])
    ours.save_adapter(tmp_path, "a", to="peft")
    same_outputs(opened(model, tmp_path), ours)


@each_of(WRITTEN)
def test_an_adapter_goes_to_peft_and_back_with_the_same_bits(pair: Any, case: str, tmp_path: Path) -> None:
    _, ours = pair
    add_random(ours, "a", WRITTEN[case])
    for name, after in (("a", "b"), ("b", "c")):
        ours.save_adapter(tmp_path / name, name, to="peft")
        ours.load_adapter(tmp_path / name, load_as=after)
    assert ours.adapters["b"].config == ours.adapters["c"].config
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert same_bits(tensors_of(ours.adapters["b"]), tensors_of(ours.adapters["c"]))


def test_scaled_inputs_merged_into_the_weights_compute_the_same() -> None:
    _, ours = small_peer(Case(ARCHITECTURES["bart"], None))
    add_random(ours, "a", WRITTEN["ia3_inputs"])
    add_random(ours, "b", WRITTEN["ia3_inputs"])
    ours.set_active_adapters(Stack("a", "b"))
    inputs = batch_of("bart")
    before = hidden(ours, inputs)
    ours.merge_adapter("a")
    ours.merge_adapter("b")
    same(hidden(ours, inputs), before)
    ours.reset_adapter()
