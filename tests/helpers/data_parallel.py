"""One process of a data-parallel step. It lies here, and not in a test's file, so that processes can import it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from adapterzoo import Stack
from tests.helpers.adapting import add_random, tensors_of
from tests.helpers.batches import Batch, batch_for
from tests.helpers.heads import add_head, labels_for
from tests.helpers.tiny import tiny_model

PROCESSES = 2
ADAPTERS = ("prefix_tuning", "lora_all", "double_seq_bn")


def model_and_batch(architecture: str) -> tuple[Any, Batch]:
    """The same model with adapters and a head, ready for training, and the same batch in every process."""
    torch.manual_seed(1)
    model = tiny_model(architecture)
    for name in ADAPTERS:
        add_random(model, name)
    add_head(model, "classification", "head")
    model.double().train_adapter(Stack(*ADAPTERS))
    batch = batch_for(model, rows=2 * PROCESSES, decoder=False)
    return model, {**batch, **labels_for(model, "classification", batch)}


def step(model: Any, run: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """The model's tensors after one step of gradient descent, `run` being the model or what wraps it."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    run(**batch).loss.backward()
    optimizer.step()
    return tensors_of(model)


def worker(rank: int, folder: str, architectures: list[str]) -> None:
    """A step of each architecture on this process's share of the rows; what comes of it is left in the folder."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    for architecture in architectures:
        model, batch = model_and_batch(architecture)
        share = {name: tensor.chunk(PROCESSES)[rank] for name, tensor in batch.items()}
        torch.save(step(model, DistributedDataParallel(model), share), Path(folder, f"{architecture}-{rank}.pt"))
    distributed.destroy_process_group()
