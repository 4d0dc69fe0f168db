"""Every method of PEFT's that can be had here goes through `convert` and back, and PEFT computes the same with it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo import formats
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.converting import Command, command, convert, same_tensors
from tests.helpers.hf_batches import inputs_for
from tests.helpers.hf_models import Case, each
from tests.helpers.peer_adapters import distance, real_positions, same
from tests.helpers.peft_adapters import (
    BARE,
    CASES,
    LONE_CACHED,
    NAMES,
    QUIET,
    batch_of,
    opened,
    peft,
    prefixes,
    small_peer,
    wrapped,
)
from tests.parity_peft.test_heads import LABELLED, logits, lora

__all__ = ["command"]  # a fixture
pytestmark = QUIET
FEW = ("lora-layers", "ia3-inputs", "vera", "dora")
"""A sample of cases, for tests in which they are not all quick."""

FROM_FILES = [case for case in CASES if case not in ("lora-pissa", "ln")]
"""Of which no part follows from the model's weights."""


def each_of(quick: str, cases: Iterable[str], few: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise a test over architectures and cases, of which all are slow but those of one with some."""
    slow, few = [pytest.mark.slow], list(few)
    both = [
        pytest.param(name, case, id=f"{name}-{case}", marks=[] if name == quick and case in few else slow)
        for name in NAMES
        for case in cases
    ]
    return pytest.mark.parametrize(("name", "case"), both)


def there_and_back(folder: Path, *words: str) -> Path:
    """Convert the adapter in folder/src to AdapterHub's format, and that back to PEFT's; returns where it lies."""
    hub = convert(folder / "src", folder / "hub", "--to", "adapterhub", "--name", "a", *words)
    assert formats.read(hub).format == "adapterhub"
    return convert(hub, folder / "dst", "--to", "peft", *(words if "--base" in words else ()))


def outputs(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The last hidden states of the caller's tokens."""
    tokens = inputs.get("decoder_input_ids", inputs["input_ids"]).size(1)
    with torch.no_grad():
        found: Tensor = model(**inputs)[0][:, -tokens:]
    return found


def same_in_peft(theirs: Any, fresh: Any, folder: Path, name: str) -> None:
    """PEFT computes the same with a folder's adapter as with its own, and something else than with none."""
    inputs = batch_of(name)
    where, expected, bare = real_positions(inputs), outputs(theirs, inputs), outputs(fresh, inputs)
    same(outputs(opened(fresh, folder), inputs), expected, where)
    assert distance(bare, expected, where) > 0.001


@each_of("bert", CASES, CASES)
def test_a_method_goes_to_adapterhubs_format_and_back(name: str, case: str, tmp_path: Path) -> None:
    model, ours = small_peer(Case(ARCHITECTURES[name], None))
    fresh = copy.deepcopy(model)
    fresh.save_pretrained(tmp_path / "base")
    theirs = wrapped(model, CASES[case](ours.architecture))
    theirs.save_pretrained(tmp_path / "src")
    dst = there_and_back(tmp_path, "--base", str(tmp_path / "base"))
    same_in_peft(theirs, fresh, dst, name)


@each_of("bart", FROM_FILES, FEW)
def test_without_the_model_it_is_the_same(name: str, case: str, tmp_path: Path) -> None:
    model, ours = small_peer(Case(ARCHITECTURES[name], None))
    fresh = copy.deepcopy(model)
    theirs = wrapped(model, CASES[case](ours.architecture))
    theirs.save_pretrained(tmp_path / "src")
    same_in_peft(theirs, fresh, there_and_back(tmp_path, "--model-type", name), name)


@pytest.mark.parametrize("case", [case for case in CASES if case not in FROM_FILES])
def test_what_follows_from_the_model_is_not_had_without_it(case: str, tmp_path: Path, command: Command) -> None:
    model, ours = small_peer(Case(ARCHITECTURES["bert"], None))
    wrapped(model, CASES[case](ours.architecture)).save_pretrained(tmp_path / "src")
    done = command("convert", tmp_path / "src", tmp_path / "dst", "--to", "adapterhub", "--model-type", "bert")
    assert done.code == 1 and "--base MODEL" in done.err and not (tmp_path / "dst").exists()


@pytest.mark.parametrize(
    "name", ["bert", *(pytest.param(n, marks=pytest.mark.slow) for n in LONE_CACHED if n != "bert")]
)
@pytest.mark.parametrize("projection", [False, True], ids=["flat", "projected"])
def test_prefixes_go_to_adapterhubs_format_and_back(name: str, projection: bool, tmp_path: Path) -> None:
    model, _ = small_peer(Case(ARCHITECTURES[name], None))
    fresh = copy.deepcopy(model)
    fresh.save_pretrained(tmp_path / "base")
    more = {"prefix_projection": True, "encoder_hidden_size": 11} if projection else {}
    theirs = wrapped(model, prefixes(**more))
    theirs.save_pretrained(tmp_path / "src")
    dst = there_and_back(tmp_path, "--base", str(tmp_path / "base"))
    same_in_peft(theirs, fresh, dst, name)
    same_tensors(*(dict(formats.read(tmp_path / folder).tensors) for folder in ("src", "dst")))


def test_prompts_go_to_adapterhubs_format_and_are_refused_on_the_way_back(tmp_path: Path, command: Command) -> None:
    model, _ = small_peer(Case(ARCHITECTURES["bert"], None))
    model.save_pretrained(tmp_path / "base")
    config = peft.PromptTuningConfig(task_type=BARE, num_virtual_tokens=4, token_dim=32, num_attention_heads=4)
    wrapped(model, config).save_pretrained(tmp_path / "src")
    words = ["--base", tmp_path / "base"]
    convert(tmp_path / "src", tmp_path / "hub", "--to", "adapterhub", *map(str, words))
    done = command("convert", tmp_path / "hub", tmp_path / "dst", "--to", "peft", *words)
    assert done.code == 1 and "PEFT's prompts come before" in done.err and not (tmp_path / "dst").exists()


@each([case for case in LABELLED if case.architecture.model_type == "bert"])
def test_a_head_goes_along_both_ways(case: Case, tmp_path: Path) -> None:
    model, static = small_peer(case)
    fresh = copy.deepcopy(model)
    fresh.save_pretrained(tmp_path / "base")
    theirs = wrapped(model, lora(case))
    theirs.save_pretrained(tmp_path / "src")
    dst = there_and_back(tmp_path, "--base", str(tmp_path / "base"))
    assert (tmp_path / "hub" / "model_head.safetensors").is_file()
    inputs = inputs_for(case, static.config)
    expected, before = logits(theirs, inputs), logits(fresh, inputs)
    same(logits(opened(fresh, dst), inputs), expected)
    assert distance(before, expected) > 0.01
