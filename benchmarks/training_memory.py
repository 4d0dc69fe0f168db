"""`python -m benchmarks.training_memory ours|theirs METHOD CORPUS`: the memory that one training step takes.

Prints `{"step": …}`, megabytes: on CPUs how much the process grows at most during a step, beyond what it holds before
it (Linux alone tells); on CUDA how much more is allocated. A step on a few rows comes first, so that weights, kernels
and the optimiser's state are there, and what it freed is given back.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import re
from pathlib import Path

import torch

from adapterzoo import BatchEncoding
from benchmarks.machine import device
from benchmarks.rows.training import Step, batches_of, models

MEGABYTE = 2**20


def main() -> None:
    """One step's memory, in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_memory", description=__doc__)
    parser.add_argument("whose", choices=("ours", "theirs"))
    parser.add_argument("method")
    parser.add_argument("corpus")
    parser.add_argument("--size", default="MiniLM")
    parser.add_argument("--least", type=int, default=0, help="the lowest layer with an adapter")
    args = parser.parse_args()
    model = models(args.size, args.method, args.least)[args.whose == "theirs"].train()
    batch = batches_of(args.corpus, 1)[0]
    few = BatchEncoding({name: tensor[:2] for name, tensor in batch.items()})
    Step(model, [few])()
    step = Step(model, [batch])
    print(json.dumps({"step": _on_cuda(step) if device().type == "cuda" else _on_cpu(step)}))


def _on_cuda(step: Step) -> float:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return (torch.cuda.max_memory_allocated() - before) / MEGABYTE


def _on_cpu(step: Step) -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _kilobytes("VmRSS")
    step()
    return (_kilobytes("VmHWM") - before) / 1024


def _kilobytes(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    main()
