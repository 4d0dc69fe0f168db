"""Law 18: a data-parallel step on two processes is a step of one process with the joint batch."""

from __future__ import annotations

import pytest
import torch
from torch import multiprocessing

from tests.helpers.comparing import assert_close
from tests.helpers.data_parallel import PROCESSES, model_and_batch, step, worker
from tests.helpers.tiny import DISTINCT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the processes left every architecture's tensors after the step."""
    folder = tmp_path_factory.mktemp("data_parallel")
    multiprocessing.spawn(worker, (str(folder), DISTINCT), nprocs=PROCESSES)
    return folder


@pytest.mark.parametrize("architecture", DISTINCT)
def test_two_processes_step_as_one(folder, architecture):
    model, batch = model_and_batch(architecture)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = step(model, model, batch)
    moved = [name for name in expected if not torch.equal(expected[name], before[name])]
    assert any(name.startswith("adapters.") for name in moved)
    assert any(name.startswith("heads.") for name in moved)
    for rank in range(PROCESSES):
        found = torch.load(folder / f"{architecture}-{rank}.pt", weights_only=True)
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            assert_close(found[name], tensor, f"{name} in process {rank}")
        assert all(torch.equal(found[name], before[name]) for name in found if name not in moved)
