"""Numbers of any dtype go from one format to the other as they are: none is rounded on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapterzoo import Fuse, Stack, formats
from adapterzoo.streaming import DTYPES, write
from tests.helpers.adapting import add_random
from tests.helpers.converting import Command, command
from tests.helpers.tiny import randomise, tiny_model

__all__ = ["command"]  # a fixture
BOTTLENECK = "seq_bn[reduction_factor=8]"


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same bit for bit."""
    bits = [tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other)]
    return (one.dtype, one.shape) == (other.dtype, other.shape) and torch.equal(*bits)


def assert_same(one: Path, other: Path) -> None:
    """Two files hold the same tensors."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys() and first
    assert all(same(first[name], second[name]) for name in first)


@pytest.fixture
def model() -> Any:
    """A BERT of numbers that only 64 bits hold, with a LoRA, a head and a fusion."""
    made = tiny_model("bert").double()
    for name, method in {"a": "lora[r=2]", "b": BOTTLENECK, "c": BOTTLENECK}.items():
        add_random(made, name, method)
    made.add_adapter_fusion(Fuse("b", "c"))
    made.add_classification_head("a", num_labels=3, layers=1, use_pooler=True)
    made.double()
    randomise(made)
    values = made.adapters["a"].state_dict().values()
    assert not any(torch.equal(value, value.float().double()) for value in values)
    return made


@pytest.mark.parametrize("based", [False, True])
@pytest.mark.parametrize("to", ["adapterhub", "peft"])
def test_an_adapter_of_64_bits_keeps_them(to: str, based: bool, model: Any, tmp_path: Path, command: Command) -> None:
    model.save_pretrained(tmp_path / "base")
    other = {"adapterhub": "peft", "peft": "adapterhub"}[to]
    for kind in (to, other):
        model.save_adapter(tmp_path / kind, "a", to=kind)
    base = ("--base", tmp_path / "base") if based else ("--model-type", "bert")
    done = command("convert", tmp_path / other, tmp_path / "made", "-q", "--to", to, "--name", "a", *base)
    assert (done.code, done.err) == (0, "")
    (file,) = (tmp_path / "made").glob("adapter*.safetensors")
    assert_same(file, tmp_path / to / file.name)


@pytest.mark.parametrize("based", [False, True])
def test_a_setup_of_64_bits_keeps_them(based: bool, model: Any, tmp_path: Path, command: Command) -> None:
    model.save_pretrained(tmp_path / "base")
    model.save_adapter_setup(tmp_path / "setup", Stack("a", Fuse("b", "c")), head_setup="a")
    base = ("--base", tmp_path / "base") if based else ()
    assert command("convert", tmp_path / "setup", tmp_path / "made", "-q", *base).code == 0
    found = [path.relative_to(tmp_path / "setup") for path in (tmp_path / "setup").rglob("*.safetensors")]
    assert found
    for path in found:
        assert_same(tmp_path / "setup" / path, tmp_path / "made" / path)


def test_parts_of_several_dtypes_keep_theirs_in_one_checkpoint(model: Any, tmp_path: Path, command: Command) -> None:
    model.adapters["b"].half()
    model.save_pretrained(tmp_path / "model")
    assert command("convert", tmp_path / "model", tmp_path / "made", "-q", "--to", "adapterhub").code == 0
    there = load_file(tmp_path / "made" / "model.safetensors")
    wanted = {}
    for file in (tmp_path / "model").rglob("*/*.safetensors"):
        wanted |= load_file(file)
    assert {tensor.dtype for tensor in wanted.values()} == {torch.float64, torch.float16}
    assert all(same(there[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_read_and_written(dtype: torch.dtype, model: Any, tmp_path: Path) -> None:
    model.save_adapter(tmp_path / "a", "a", with_head=False)
    (file,) = (tmp_path / "a").glob("*.safetensors")
    save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    formats.write(formats.read(tmp_path / "a"), tmp_path / "b")
    assert_same(file, tmp_path / "b" / file.name)


def test_views_that_turn_numbers_are_written_turned(tmp_path: Path) -> None:
    made = torch.complex(torch.arange(4.0), torch.arange(4.0))
    views = {"conjugate": made.conj(), "negative": made.conj().imag}
    assert views["conjugate"].is_conj() and views["negative"].is_neg()
    write(str(tmp_path / "x"), views)
    found = load_file(tmp_path / "x")
    assert torch.equal(found["conjugate"], torch.complex(torch.arange(4.0), -torch.arange(4.0)))
    assert torch.equal(found["negative"], -torch.arange(4.0))


def test_notes_are_written_in_one_order(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2)}
    notes = {"z": "1", "format": "pt", "b": "2"}
    for number, order in enumerate((notes, dict(reversed(notes.items())))):
        write(str(tmp_path / str(number)), tensors, notes=order)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
