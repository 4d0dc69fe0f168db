"""Every preset that the peer writes goes through `convert`, and the peer reads what comes out: the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.converting import convert
from tests.helpers.head_cases import HEAD_CASES, HeadCase
from tests.helpers.method_cases import PRESET_CASES, VARIANTS, MethodCase, each_method
from tests.helpers.peer_adapters import add_random, is_copy, peer_parameters
from tests.helpers.processes_here import processes_here
from tests.parity_adapters.conftest import Pair
from tests.parity_adapters.test_dora_and_vera import add_diagonal

__all__ = ["processes_here"]  # a fixture
Pairs = Callable[[Architecture], Pair]
QUICK = ("bert", "bart")
"""One stack, and two; architectures that differ in names are many, and slow."""

UNTOLD = ("electra", "encoder-decoder")
"""Whose adapters do not tell all sizes: embeddings may be of any width, and a pair's stacks of any architecture."""

each_preset = pytest.mark.parametrize("case", PRESET_CASES.values(), ids=list(PRESET_CASES))
each_architecture = pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(kind, id=kind.name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, kind in ARCHITECTURES.items()
    ],
)


def same_in_peer(theirs: Any, folder: Path, architecture: Architecture) -> None:
    """The peer reads a folder's adapter "b", and it has the bits of its own "a"."""
    report: dict[str, list[str]] = {}
    theirs.load_adapter(str(folder), use_safetensors=True, loading_info=report)
    assert not report["unexpected_keys"]
    assert all(is_copy(key, architecture) for key in report["missing_keys"])
    assert theirs.adapters_config.get("b").to_dict() == theirs.adapters_config.get("a").to_dict()
    first, second = (peer_parameters(theirs, name) for name in "ab")
    assert len(first) == len(second) > 0
    for (name, one), other in zip(first.items(), second.values(), strict=True):
        assert torch.equal(one, other), name


@each_architecture
@each_preset
def test_a_preset_of_the_peers_goes_through_the_command_and_back_with_the_same_bits(
    pairs: Pairs,
    base_dir: Callable[[Architecture], Path],
    architecture: Architecture,
    case: MethodCase,
    tmp_path: Path,
    processes_here: None,
) -> None:
    theirs, _ = pairs(architecture)
    add_random(theirs, "a", case.theirs)
    theirs.save_adapter(str(tmp_path / "src"), "a")
    words = ["--base", str(base_dir(architecture))] if architecture.model_type in UNTOLD else []
    dst = convert(tmp_path / "src", tmp_path / "dst", "--to", "adapterhub", "--name", "b", *words)
    assert sorted(path.name for path in dst.iterdir()) == ["adapter.safetensors", "adapter_config.json"]
    same_in_peer(theirs, dst, architecture)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("preset", ["dora", "vera", "dvora"])
def test_what_the_peer_computes_otherwise_goes_through_with_the_same_bits_as_well(
    pairs: Pairs, name: str, preset: str, tmp_path: Path, processes_here: None
) -> None:
    """VeRA's matrices are diagonal, as the method has them."""
    theirs, _ = pairs(ARCHITECTURES[name])
    try:
        add_diagonal(theirs, PRESET_CASES[preset].theirs)
        theirs.save_adapter(str(tmp_path / "src"), "a")
        dst = convert(tmp_path / "src", tmp_path / "dst", "--name", "b")
        same_in_peer(theirs, dst, ARCHITECTURES[name])
    finally:
        theirs.adapters_config._vera_init_shapes.clear()  # which the peer keeps of adapters that are gone


BESIDE = {name: case for name, case in HEAD_CASES.items() if not case.config}


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("case", BESIDE.values(), ids=list(BESIDE))
def test_a_head_beside_an_adapter_goes_along(
    pairs: Pairs, name: str, case: HeadCase, tmp_path: Path, processes_here: None
) -> None:
    theirs, _ = pairs(ARCHITECTURES[name])
    if not case.fits(ARCHITECTURES[name]):
        pytest.skip("there is no such head")
    add_random(theirs, "a", "lora")
    case.add(theirs, "a")
    theirs.save_adapter(str(tmp_path / "src"), "a")
    dst = convert(tmp_path / "src", tmp_path / "dst", "--name", "b")
    theirs.load_adapter(str(dst), use_safetensors=True)
    first, second = (theirs.heads[name].state_dict() for name in "ab")
    assert list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)
    assert theirs.heads["a"].config == theirs.heads["b"].config


@each_method(
    {name: VARIANTS[name] for name in ("lora-every-linear", "ia3-gate", "mtl-every-linear", "bn-inv", "prefix")}
)
@pytest.mark.parametrize("name", QUICK)
def test_sizes_are_told_by_the_tensors(
    pairs: Pairs, name: str, case: MethodCase, tmp_path: Path, processes_here: None
) -> None:
    theirs, _ = pairs(ARCHITECTURES[name])
    add_random(theirs, "a", case.theirs)
    theirs.save_adapter(str(tmp_path / "src"), "a")
    same_in_peer(theirs, convert(tmp_path / "src", tmp_path / "dst", "--name", "b"), ARCHITECTURES[name])
