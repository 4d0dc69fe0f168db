"""The converter's commands, run in this process, and small checkpoints in all the shapes in which they come."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.helpers.hf_models import Case, cases, peer
from tests.helpers.real import ROOT
from weights_conversion.cli import main

PICKLE = "--allow-pickle"


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs a command and returns its exit code and what it printed."""

    def run(*words: object) -> Done:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # click's way
            code = int(stop.code or 0)
        return Done(code, *capsys.readouterr())

    return run


def convert(source: Path, target: Path, *flags: str) -> Path:
    """Convert quietly, which must go well."""
    assert main(["convert", str(source), str(target), PICKLE, "-q", *flags]) == 0
    return target


def peak_of(program: str, *words: object) -> int:
    """The most memory, in bytes, that a Python program tells that it took, or what it started. It prints both."""
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(max(json.loads(done.stdout.splitlines()[-1])))


def facts(command: Command, source: Path, *flags: str, whole: bool = True) -> dict[str, Any]:
    """What `inspect --json` tells, of what is whole or is not."""
    done = command("inspect", source, PICKLE, "--json", *flags)
    assert (done.code, done.err == "") == ((0, True) if whole else (1, False)), done.err
    told: dict[str, Any] = json.loads(done.out)
    return told


def first(head_type: str | None) -> Case:
    """The first class with such a head."""
    return cases(head_type)[0]


def saved(folder: Path, head_type: str | None = "classification", safe: bool = True, **changes: Any) -> Any:
    """Save a small random model of transformers' in a folder, and return it."""
    model = peer(first(head_type), **changes)
    model.save_pretrained(folder, safe_serialization=safe)
    return model


def tensors_in(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's model.safetensors."""
    return safetensors.torch.load_file(folder / "model.safetensors")


def rewrite(
    folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], pickled: bool = False
) -> dict[str, Tensor]:
    """Change the tensors of a folder's checkpoint; if `pickled`, it is a PyTorch file afterwards."""
    tensors = change(tensors_in(folder))
    if not pickled:
        apart = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        safetensors.torch.save_file(apart, folder / "model.safetensors")
        return tensors
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    return tensors


def edit_config(folder: Path, drop: tuple[str, ...] = (), **changes: Any) -> None:
    """Change a folder's config.json."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in drop}))


def same_tensors(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Assert that two checkpoints hold the same names with the same dtypes and bits."""
    assert sorted(first) == sorted(second)
    other = [name for name in first if first[name].dtype != second[name].dtype or not first[name].equal(second[name])]
    assert not other, f"other bits in {other}"


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder: each file's bytes, and None for folders; hidden ones, too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


LISTS = ("unused", "without_place", "unexpected", "converted")
"""What a report tells of tensors that it does not map."""


def accounted(told: dict[str, Any]) -> list[str]:
    """Every foreign name that a report tells, in any of its lists."""
    return sorted([row["theirs"] for row in told["tensors"]] + [name for key in LISTS for name in told.get(key, ())])


def same_as_said(told: dict[str, Any], theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> None:
    """Assert that each tensor is the part of ours that the report says, and that all of ours are there."""
    for row in told["tensors"]:
        whole, there = ours[row["ours"]], theirs[row["theirs"]]
        if "turns" in row:  # there it is head by head
            heads = told["sizes"]["attention_heads"][row["ours"].split(".")[1]]
            there = there.unflatten(0, (heads, row["turns"], -1)).transpose(0, 1).flatten(0, 2)
        assert torch.equal(whole.chunk(row["parts"])[row["part"]] if whole.dim() else whole, there), row
        assert (row["shape"], f"torch.{row['dtype']}") == (list(there.shape), str(there.dtype))
    assert {row["ours"] for row in told["tensors"]} == set(ours)
