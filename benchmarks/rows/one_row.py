"""One row of 16 tokens at a time, as a server answers single requests: MiniLM's size, an adapter and a head.

The matrix products are small here, so that what a library does around them is most of the time.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers

from adapterzoo import AutoModel
from benchmarks.machine import Gemms, device, largest_difference
from benchmarks.models import minilm_folder
from benchmarks.peers import ADAPTERS, same_in_both
from benchmarks.results import Result, Row
from benchmarks.turns import Times, in_turns, several_in_turns

TITLE = "2. One row at a time"


@torch.no_grad()
def run(row: Row, pairs: int) -> None:
    """With adapters and a head against adapters; bare against transformers and against the products."""
    where, pairs = device(), max(pairs, 15)
    batch = {"input_ids": torch.randint(1000, 20000, (1, 16), device=where)}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    for method in ("lora", "seq_bn", "prefix_tuning"):
        ours, theirs = same_in_both(minilm_folder(), {"task": method}, where=where)
        ours.set_active_adapters("task")
        theirs.set_active_adapters("task")
        ours.active_head = theirs.active_head = "task"
        difference = largest_difference(ours(**batch).logits, theirs(**batch).logits)
        more: dict[str, Any] = {
            "difference": difference,
            "tolerance": 1e-5,
            "target": 0.6 if method == "lora" else None,
        }
        times = in_turns(lambda: ours(**batch), lambda: theirs(**batch), pairs, warmup=20, device=where)  # noqa: B023
        row.add(Result(case=f"{method} and a head", peer=ADAPTERS, **times.as_fields(), **more))
        ours.pack_weights()
        more["difference"] = largest_difference(ours(**batch).logits, theirs(**batch).logits)
        times = in_turns(lambda: ours(**batch), lambda: theirs(**batch), pairs, warmup=20, device=where)  # noqa: B023
        row.add(Result(case=f"{method} and a head, after pack_weights()", peer=ADAPTERS, **times.as_fields(), **more))
    _bare(row, batch, pairs)


def _bare(row: Row, batch: dict[str, torch.Tensor], pairs: int) -> None:
    where, folder = device(), minilm_folder()
    ours = AutoModel.from_pretrained(folder).to(where)
    theirs = transformers.AutoModel.from_pretrained(folder).eval().to(where)
    difference = largest_difference(ours(**batch).last_hidden_state, theirs(**batch).last_hidden_state)
    tasks = {"ours": lambda: ours(**batch), "theirs": lambda: theirs(**batch), "gemms": Gemms(ours.base, [16])}
    times = several_in_turns(tasks, pairs, warmup=20, device=where)
    against = Times(times["ours"], times["theirs"]).as_fields()
    peer = f"transformers {transformers.__version__}"
    row.add(Result(case="bare", peer=peer, **against, difference=difference, tolerance=1e-5))
    row.add(Result(case="bare", peer="bare GEMMs", **Times(times["ours"], times["gemms"]).as_fields()))


NOTES = """
With one row of 16 tokens the products, which read 41 MB of weights, are most of the time: alone and bare they take
about two thirds of adapters' whole forward, so that no code around them reaches 0.6. `pack_weights()` does, by
products that read packed weights, for as much memory again.
"""
