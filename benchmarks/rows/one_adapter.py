"""The cost of one active adapter over our bare encoder, on a batch of 32 × 64 tokens without padding.

Merged adapters cost nothing: the network is the bare one with other weights.
"""

from __future__ import annotations

import torch

from adapterzoo import AutoAdapterModel
from benchmarks.machine import device
from benchmarks.models import SIZES
from benchmarks.peers import moved
from benchmarks.results import Result, Row
from benchmarks.turns import Times, several_in_turns

TITLE = "3. The cost of one active adapter"
METHODS = {
    "lora": 1.05,
    "seq_bn": 1.05,
    "double_seq_bn": 1.08,
    "prefix_tuning": 1.08,
    "ia3": 1.03,
    "par_bn": None,
    "dora": None,
    "loreft": None,
}
"""What each may cost; None: reported only."""


@torch.no_grad()
def run(row: Row, pairs: int) -> None:
    """Every method in turns with the bare network, and a merged LoRA."""
    for size in SIZES:
        _size(row, size, 2 * pairs if size == "MiniLM" else pairs)  # differences of a few hundredths


def _size(row: Row, size: str, pairs: int) -> None:
    where = device()
    model = AutoAdapterModel.from_pretrained(SIZES[size]()).to(where)
    merged = AutoAdapterModel.from_pretrained(SIZES[size]()).to(where)
    for method in METHODS:
        model.add_adapter(method, method)
        moved(model.adapters[method])
    merged.add_adapter("lora", "lora")
    merged.adapters["lora"].load_state_dict(model.adapters["lora"].state_dict())
    merged.merge_adapter("lora")
    ids = torch.randint(1000, 20000, (32, 64), device=where)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def call(name: str | None) -> torch.Tensor:
        model.set_active_adapters(name)
        return model(**batch).last_hidden_state

    tasks = {name: (lambda name=name: call(name)) for name in METHODS}
    tasks |= {"bare": lambda: call(None), "merged": lambda: merged(**batch)}
    difference = float((call("lora") - merged(**batch).last_hidden_state).abs().max())
    times = several_in_turns(tasks, pairs, warmup=1, device=where)
    for name, target in METHODS.items():
        against = Times(times[name], times["bare"]).as_fields()
        row.add(Result(case=f"{name}, {size}", peer="our bare encoder", **against, target=target))
    against = Times(times["merged"], times["bare"]).as_fields()
    more = {"difference": difference, "tolerance": 1e-4, "note": "difference: merged and not"}
    row.add(Result(case=f"a merged LoRA, {size}", peer="our bare encoder", **against, target=1.02, **more))


NOTES = """
At MiniLM's size the bare encoder became 14 % quicker when GELU joined the product before it, so that the same
milliseconds of an adapter weigh more. What is left is mostly new memory, whose pages the system clears at their first
touch: (IA)³ cost 0.31 to 0.42 of the whole when what it made and the activation after it were new tensors, and 0.00 to
0.04 since both write over the product's. LoRA, BitFit and the last addition of a bottleneck do so, too; a prefix needs
longer keys and values, and these are new. DoRA's update is as large as the weight; folded into it, it costs 0.00 to
0.03, and 0.18 to 0.25 as a product of its own.
"""
