"""Train what is trainable in a model and measure it as it goes."""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from examples.reviews import Batch, Data

WARMUP = 0.1
CHECKS_PER_EPOCH = 4


@dataclass
class History:
    """How one training went.

    Attributes:
        name: what was trained.
        trained: the number of trained parameters.
        steps_per_epoch: batches in the training split.
        losses: the loss of each step.
        checks: pairs of a step and the validation accuracy after it.
        seconds: how long the training took, its checks included.
        logits: the trained model's logits of the test split.
        test: its accuracy there.
    """

    name: str
    trained: int
    steps_per_epoch: int
    losses: list[float] = field(default_factory=list)
    checks: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    test: float = 0.0


def logits_of(model: nn.Module, batches: Sequence[Batch]) -> Tensor:
    """Return the logits of all batches, in their order."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(**batch.inputs).logits for batch in batches])


def accuracy(logits: Tensor, batches: Sequence[Batch]) -> float:
    """Return the share of reviews whose largest logit is that of their label."""
    labels = torch.cat([batch.labels for batch in batches])
    return float((logits.argmax(dim=-1) == labels).float().mean())


def warmup_and_decay(steps: int) -> Callable[[int], float]:
    """Return a learning-rate factor that climbs for the first tenth of the steps, then falls to zero."""
    warmup = max(1, int(WARMUP * steps))
    return lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / (steps - warmup)))


def train_step(model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """Take one step on one batch and return its loss."""
    model.train()
    optimizer.zero_grad()
    loss = model(**batch.inputs, labels=batch.labels).loss
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def train(model: nn.Module, name: str, data: Data, epochs: int, learning_rate: float) -> History:
    """Train the parameters that require gradients; the order of the batches is the same for each model."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    trained = sum(parameter.numel() for parameter in parameters)
    history = History(name, trained, len(data["train"]))
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    shuffler, started = random.Random(0), time.perf_counter()
    order = [batch for _ in range(epochs) for batch in shuffler.sample(data["train"], len(data["train"]))]
    schedule = LambdaLR(optimizer, warmup_and_decay(len(order)))
    check_every = math.ceil(len(data["train"]) / CHECKS_PER_EPOCH)
    progress = tqdm(order, desc=name, unit="batch", disable=None)
    for step, batch in enumerate(progress, start=1):
        history.losses.append(train_step(model, batch, optimizer))
        schedule.step()
        if step % check_every == 0 or step == len(order):
            found = accuracy(logits_of(model, data["validation"]), data["validation"])
            history.checks.append((step, found))
            progress.set_postfix(loss=f"{history.losses[-1]:.3f}", validation=f"{found:.3f}")
    history.seconds = time.perf_counter() - started
    history.logits = logits_of(model, data["test"])
    history.test = accuracy(history.logits, data["test"])
    return history
