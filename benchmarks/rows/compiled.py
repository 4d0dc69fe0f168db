"""The network compiled by PyTorch (inductor, a graph for every shape) beside ours as it is, and transformers compiled.

`model.base.compile(fullgraph=True, dynamic=True)`: batches go on leaving padding out. Another length and batch size in
the same run must compile nothing again, or the row fails. How long the first call took is in the notes of each line.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
import transformers
from torch._dynamo.utils import counters

from adapterzoo import AutoAdapterModel, BatchEncoding
from benchmarks.machine import largest_difference
from benchmarks.models import SIZES, tokenizer
from benchmarks.peers import moved
from benchmarks.results import Result, Row
from benchmarks.texts import batches, corpora
from benchmarks.turns import Times, in_turns
from examples.reviews import batched, read, tokenize_with
from examples.training import train_step

TITLE = "10. torch.compile"
PEER = "ours, not compiled"


def run(row: Row, pairs: int) -> None:
    """Inference with a LoRA, the same on int8, a training step; and bare, beside transformers compiled."""
    corpus = "MRPC" if "MRPC" in corpora() else "film reviews"
    data = batches(tokenizer(), corpus, 32, 2)
    for method, kind in (("lora", None), ("lora", "int8")):
        _inference(row, corpus, data, method, kind, pairs)
    _training(row, pairs)
    _peer(row, corpus, data, pairs)


def _compiled(model: Any) -> Any:
    twin = copy.deepcopy(model)
    twin.base.compile(fullgraph=True, dynamic=True)
    return twin


def _model(method: str | None, kind: str | None = None) -> Any:
    torch.manual_seed(0)
    model = AutoAdapterModel.from_pretrained(SIZES["MiniLM"]())
    if method is not None:
        model.add_adapter(method, method, set_active=True)
        moved(model.adapters[method])
    return model if kind is None else model.quantize_base(kind)


@torch.no_grad()
def _inference(
    row: Row, corpus: str, data: list[BatchEncoding], method: str | None, kind: str | None, pairs: int
) -> None:
    torch._dynamo.reset()
    eager = _model(method, kind)
    compiled = _compiled(eager)
    start = time.perf_counter()
    compiled(**data[0])
    took, graphs = time.perf_counter() - start, counters["stats"]["unique_graphs"]
    difference = max(
        largest_difference(compiled(**batch).last_hidden_state, eager(**batch).last_hidden_state) for batch in data
    )
    times = in_turns(lambda: [compiled(**b) for b in data], lambda: [eager(**b) for b in data], pairs)
    _same(graphs)
    case = ", ".join(filter(None, (f"inference, {corpus}, MiniLM", method, kind)))
    # A number that lies between two int8 may be rounded to the other one where sums are in another order.
    within = 1e-4 if kind is None else None
    checked = {"difference": difference, "tolerance": within, "note": f"first call {took:.0f} s"}
    row.add(Result(case=case, peer=PEER, **times.as_fields(), **checked))


def _same(graphs: int) -> None:
    now = counters["stats"]["unique_graphs"]
    if now != graphs:
        raise AssertionError(f"{now - graphs} graphs were compiled again")


def _training(row: Row, pairs: int) -> None:
    torch._dynamo.reset()
    eager = _model("lora")
    eager.add_classification_head("lora", num_labels=2)
    eager.train_adapter("lora")
    compiled = _compiled(eager)
    data = batched(read("train"), tokenize_with(tokenizer()))[20:60:20]
    models = {"compiled": compiled, "eager": eager}
    optimizers = {
        name: torch.optim.AdamW([p for p in one.parameters() if p.requires_grad], lr=1e-4)
        for name, one in models.items()
    }

    def steps(name: str) -> None:
        for batch in data:
            train_step(models[name], batch, optimizers[name])

    start = time.perf_counter()
    steps("compiled")
    took, graphs = time.perf_counter() - start, counters["stats"]["unique_graphs"]
    times = in_turns(lambda: steps("compiled"), lambda: steps("eager"), pairs)
    _same(graphs)
    note = f"first steps {took:.0f} s"
    row.add(Result(case="training step, film reviews, MiniLM, lora", peer=PEER, **times.as_fields(), note=note))


@torch.no_grad()
def _peer(row: Row, corpus: str, data: list[BatchEncoding], pairs: int) -> None:
    torch._dynamo.reset()
    ours = _compiled(_model(None))
    theirs = transformers.AutoModel.from_pretrained(SIZES["MiniLM"]()).eval()
    compiled = torch.compile(theirs, dynamic=True)
    masks = [batch["attention_mask"] for batch in data]
    difference = max(
        largest_difference(ours(**batch).last_hidden_state, compiled(**batch).last_hidden_state, mask)
        for batch, mask in zip(data, masks, strict=True)
    )
    times: Times = in_turns(lambda: [ours(**b) for b in data], lambda: [compiled(**b) for b in data], pairs)
    peer = f"transformers {transformers.__version__}, compiled"
    checked = {"difference": difference, "tolerance": 1e-4}
    row.add(Result(case=f"inference, {corpus}, MiniLM, compiled", peer=peer, **times.as_fields(), **checked))


NOTES = """
One graph serves all lengths and batch sizes. Compiled code uses neither oneDNN's products nor attention row by row, as
the code that is not compiled does; what it saves is elementwise work. So it gains on int8, where there is most of that,
and loses a little elsewhere.
"""
