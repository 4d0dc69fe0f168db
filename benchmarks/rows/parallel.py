"""8 adapters over one batch at once (`Parallel`), each with a head of its own, beside adapters; MiniLM-size.

Weights go from one library to the other in AdapterHub's files. Then training: 8 adapters with heads in one step, each
on all rows (`Parallel`) or on rows of its own (`adapter_names`), beside 8 steps of ours with one adapter each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import adapters
import torch
from torch import Tensor

from adapterzoo import AutoAdapterModel, Parallel
from benchmarks.machine import device, largest_difference
from benchmarks.models import minilm_folder
from benchmarks.peers import ADAPTERS, moved, same_in_both
from benchmarks.results import Result, Row
from benchmarks.turns import Times, in_turns, several_in_turns

TITLE = "6. Several adapters at once"
COUNT = 8
NAMES = [f"a{number}" for number in range(COUNT)]
METHODS: dict[str, Any] = {
    "seq_bn": "seq_bn",
    "seq_bn in the upper half": "seq_bn[leave_out=[0,1,2]]",
    "lora": "lora",
    "prefix_tuning_flat": "prefix_tuning_flat",
}


def run(row: Row, pairs: int) -> None:
    """Inference beside adapters, training beside runs of one adapter."""
    for what, config in METHODS.items():
        _inference(row, what, config, pairs)
    lines: dict[str, list[tuple[float, float]]] = {}
    for what in ("seq_bn", "seq_bn in the upper half", "lora"):
        _training(row, what, METHODS[what], min(pairs, 7), lines)
    row.add_series("A training step of N adapters, each on 8 × 64 tokens", "adapters", "ms", lines)


def _batch(rows: int, length: int = 64) -> dict[str, Tensor]:
    ids = torch.randint(1000, 20000, (rows, length), device=device())
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.no_grad()
def _inference(row: Row, what: str, config: Any, pairs: int) -> None:
    ours, theirs = same_in_both(minilm_folder(), dict.fromkeys(NAMES, config), where=device())
    batch = _batch(8)
    ours.set_active_adapters(Parallel(*NAMES))
    theirs.set_active_adapters(adapters.composition.Parallel(*NAMES))
    theirs.active_head = NAMES
    first, second = ours(**batch), theirs(**batch)
    difference = max(largest_difference(a.logits, b.logits) for a, b in zip(first, second, strict=True))
    times = in_turns(lambda: ours(**batch), lambda: theirs(**batch), pairs, device=device())
    case = f"Parallel of {COUNT}, {what}, with heads, 8 × 64"
    row.add(Result(case=case, peer=ADAPTERS, **times.as_fields(), target=1.0, difference=difference, tolerance=1e-4))


def _training(row: Row, what: str, config: Any, pairs: int, lines: dict[str, list[tuple[float, float]]]) -> None:
    model = AutoAdapterModel.from_pretrained(minilm_folder())
    for name in NAMES:
        model.add_adapter(name, config)
        model.add_classification_head(name, num_labels=2)
    moved(model.adapters)
    model.train_adapter(Parallel(*NAMES))
    model.active_head = None
    model = model.to(device()).train()
    for part in model.modules():  # without chance, so that gradients can be compared
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    for count in (2, 4, COUNT):
        _step(row, model, what, NAMES[:count], pairs, lines)


def _step(
    row: Row, model: Any, what: str, names: list[str], pairs: int, lines: dict[str, list[tuple[float, float]]]
) -> None:
    batch, labels = _batch(8), torch.randint(2, (8,), device=device())
    own = {name: tensor.repeat(len(names), 1) for name, tensor in batch.items()}
    each = [name for name in names for _ in range(8)]

    def stepped(step: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad(set_to_none=True)
            step()

        return run

    def parallel() -> None:
        model.set_active_adapters(Parallel(*names))
        model(**batch, labels=labels).loss.backward()

    def by_name() -> None:
        model.set_active_adapters(None)
        model.active_head = None
        model(**own, labels=labels.repeat(len(names)), adapter_names=each).loss.backward()

    def alone() -> None:
        for name in names:
            model.set_active_adapters(name)
            model(**batch, labels=labels).loss.backward()

    tasks = {"Parallel": stepped(parallel), "adapter_names": stepped(by_name), "alone": stepped(alone)}
    found = {}
    for name, task in tasks.items():
        task()
        found[name] = {p: v.grad.clone() for p, v in model.named_parameters() if v.grad is not None}
    times = several_in_turns(tasks, pairs, warmup=1, device=device())
    for name in ("Parallel", "adapter_names"):
        difference = max(largest_difference(grad, found["alone"][place]) for place, grad in found[name].items())
        fields = Times(times[name], times["alone"]).as_fields()
        case = f"a training step of {len(names)} adapters, {what}, {name}, 8 × 64 tokens each"
        if len(names) == COUNT:
            peer = f"{COUNT} steps of ours, one adapter each"
            row.add(Result(case=case, peer=peer, **fields, target=1.0, difference=difference, tolerance=1e-4))
        lines.setdefault(f"{what}, {name}", []).append((len(names), fields["ours"]))
    lines.setdefault(f"{what}, one by one", []).append((len(names), fields["theirs"]))


NOTES = """
Eight adapters at once cost what their tokens cost: the frozen network's products are the same for eight batches
of 8 × 64 tokens and for one of 64 × 64. What is saved are calls, and, with adapters in the upper half alone, the lower
half, which `Parallel` runs once for all.
"""
