"""Loading does no work that it throws away: no weight is made and overwritten, none is copied without need."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adapterzoo.formats.hf import block_order, foreign_names
from tests.helpers.hf_models import CASES, Case, each, peer

MAPS = Path("/proc/self/maps")


class Watch(TorchDispatchMode):
    """Counts what PyTorch's operations do with real memory; what lies on the meta device is free.

    Attributes:
        written: by operation, numbers written in place.
        made: by operation, numbers in new memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: Counter[str] = Counter()
        self.made: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {storage(tensor) for tensor in real(args, kwargs)}
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.removeprefix("aten::")
        for tensor in real(result):
            if function._schema.is_mutable and name != "set_":  # set_ gives a tensor memory that is there
                self.written[name] += tensor.numel()
            elif storage(tensor) not in known and not name.startswith("set_"):
                self.made[name] += tensor.numel()
        return result


def real(*values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and not leaf.is_meta]


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def is_joined(model: Any, name: str) -> bool:
    """Whether a tensor of ours is several of a checkpoint's, or several parts of one."""
    order = block_order(model.architecture, model.base.config, name)
    return bool(order) or len(foreign_names(model.architecture, model.static, name)) > 1


def parameters_of(model: Any, joined: bool) -> dict[str, Tensor]:
    """A model's parameters that are several of a checkpoint's, or those that are one."""
    return {name: tensor for name, tensor in model.named_parameters() if is_joined(model, name) is joined}


@each(CASES)
def test_a_whole_checkpoint_is_loaded_without_making_a_weight(case: Case, tmp_path: Path) -> None:
    peer(case).save_pretrained(tmp_path)
    with Watch() as watch:
        ours = case.ours.from_pretrained(tmp_path)
    assert +watch.written == {}
    assert +watch.made == {"cat": sum(tensor.numel() for tensor in parameters_of(ours, True).values())}


@each(CASES)
def test_a_model_from_a_config_makes_every_weight(case: Case, tmp_path: Path) -> None:
    peer(case).save_pretrained(tmp_path)
    config = case.ours.from_pretrained(tmp_path).config
    with Watch() as watch:
        ours = case.ours.from_config(config)
    weights = sum(parameter.numel() for parameter in ours.parameters() if parameter.dim() > 1)
    assert watch.written["normal_"] >= weights


@each([case for case in CASES if case.static])
def test_of_a_checkpoint_without_a_head_only_the_head_is_made(case: Case, tmp_path: Path) -> None:
    peer(Case(case.architecture, None)).save_pretrained(tmp_path)
    with Watch() as watch:
        ours = case.ours.from_pretrained(tmp_path)
    own = [tensor for name, tensor in ours.head.named_parameters() if name not in ours.head.tied]
    assert watch.written["normal_"] == sum(tensor.numel() for tensor in own if tensor.dim() > 1)


def mapped(file: Path) -> list[range]:
    """Where in this process's memory a file is mapped."""
    if not MAPS.exists():
        pytest.skip("only Linux tells where a file is mapped")
    lines = [line.split(maxsplit=5) for line in MAPS.read_text().splitlines()]
    bounds = [line[0].split("-") for line in lines if len(line) == 6 and line[5] == str(file.resolve())]
    return [range(int(start, 16), int(end, 16)) for start, end in bounds]


@each(CASES)
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickle"])
def test_weights_are_the_files_own_memory_but_for_those_that_are_joined(
    case: Case, pickled: bool, tmp_path: Path
) -> None:
    peer(case).save_pretrained(tmp_path, safe_serialization=not pickled)
    ours = case.ours.from_pretrained(tmp_path, allow_pickle=pickled)
    places = mapped(tmp_path / ("pytorch_model.bin" if pickled else "model.safetensors"))
    for joined in (True, False):
        found = parameters_of(ours, joined)
        assert found
        for name, tensor in found.items():
            assert any(tensor.data_ptr() in place for place in places) is not joined, name


@each([case for case in CASES if case.static is None])
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickle"])
def test_training_a_loaded_model_leaves_the_file_as_it_is(case: Case, pickled: bool, tmp_path: Path) -> None:
    peer(case).save_pretrained(tmp_path, safe_serialization=not pickled)
    file = tmp_path / ("pytorch_model.bin" if pickled else "model.safetensors")
    before = file.read_bytes()
    ours = case.ours.from_pretrained(tmp_path, allow_pickle=pickled)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    assert file.read_bytes() == before
    again = case.ours.from_pretrained(tmp_path, allow_pickle=pickled)
    for first, second in zip(ours.parameters(), again.parameters(), strict=True):
        assert not torch.equal(first, second)
