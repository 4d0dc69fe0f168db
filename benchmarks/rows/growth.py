"""How time grows with rows' length, rows of a batch, layers, and adapters in a stack, at MiniLM's width.

A straight line of slope one is what growing work costs; with length attention's part grows by the square, in the peer
as in ours. Beside "growing in line", ours is the time at the largest size over that at the one before it, theirs the
ratio of the sizes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import transformers

from adapterzoo import AutoAdapterModel, AutoModel, BertConfig, Stack
from benchmarks.machine import device, largest_difference
from benchmarks.models import minilm_folder
from benchmarks.peers import moved
from benchmarks.results import Result, Row
from benchmarks.turns import several_in_turns

TITLE = "12. Growth"
PEER = f"transformers {transformers.__version__}"
LENGTHS = (16, 32, 64, 128, 256, 512)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LAYERS = (1, 2, 4, 8, 16, 24)
STACKED = (1, 2, 4, 8, 16)

Calls = dict[int, tuple[Callable[[], Any], Callable[[], Any]]]


@torch.no_grad()
def run(row: Row, pairs: int) -> None:
    """Four ways to grow."""
    folder, where, rounds = minilm_folder(), device(), max(3, pairs // 2)
    ours = AutoModel.from_pretrained(folder).to(where)
    theirs = transformers.AutoModel.from_pretrained(folder).eval().to(where)
    _grow(row, "rows' length", "tokens of each of 4 rows", _batches(ours, theirs, [(4, n) for n in LENGTHS], 1), rounds)
    _grow(row, "rows of a batch", "rows of 16 tokens", _batches(ours, theirs, [(n, 16) for n in ROWS], 0), rounds)
    _grow(row, "layers", "layers, 4 rows of 32 tokens", _layers(where), rounds)
    _stacked(row, rounds)


def _batch(rows: int, length: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(1000, 20000, (rows, length), device=device())
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _batches(ours: Any, theirs: Any, shapes: list[tuple[int, int]], sized: int) -> Calls:
    calls: Calls = {}
    for shape in shapes:
        batch = _batch(*shape)
        calls[shape[sized]] = (lambda batch=batch: ours(**batch), lambda batch=batch: theirs(**batch))
    return calls


def _layers(where: torch.device) -> Calls:
    calls: Calls = {}
    batch = _batch(4, 32)
    for count in LAYERS:
        numbers = {"num_hidden_layers": count, "hidden_size": 384, "intermediate_size": 1536}
        with tempfile.TemporaryDirectory() as folder:
            AutoModel.from_config(BertConfig(**numbers)).save_pretrained(folder)
            ours = AutoModel.from_pretrained(folder).to(where)
            theirs = transformers.AutoModel.from_pretrained(folder).eval().to(where)
        calls[count] = (lambda m=ours: m(**batch), lambda m=theirs: m(**batch))
    return calls


def _grow(row: Row, what: str, axis: str, calls: Calls, rounds: int) -> None:
    lines: dict[str, list[tuple[float, float]]] = {"adapterzoo": [], PEER: []}
    for size, (ours, theirs) in calls.items():
        difference = largest_difference(ours().last_hidden_state, theirs().last_hidden_state)
        times = several_in_turns({"adapterzoo": ours, PEER: theirs}, rounds, warmup=1, device=device())
        for name, values in times.items():
            lines[name].append((size, 1e3 * sorted(values)[len(values) // 2]))
        ratios = tuple(a / b for a, b in zip(times["adapterzoo"], times[PEER], strict=True))
        if size == max(calls):
            mine, peer = lines["adapterzoo"][-1][1], lines[PEER][-1][1]
            fields = {"ours": mine, "theirs": peer, "ratios": ratios, "difference": difference, "tolerance": 1e-4}
            row.add(Result(case=f"{what}: {size}", peer=PEER, **fields))
    _in_line(row, what, lines["adapterzoo"], None if "length" in what else 1.15)
    row.add_series(f"Time against {what}", axis, "ms", lines)


def _in_line(row: Row, what: str, points: list[tuple[float, float]], target: float | None) -> None:
    """The last step of a line beside one that is in line with size."""
    (before, early), (last, late) = points[-2:]
    ratio = (late / early) / (last / before)
    fields = {"ours": late / early, "theirs": last / before, "ratios": (ratio,), "unit": "times", "target": target}
    row.add(Result(case=f"{what}: {before:.0f} to {last:.0f}", peer="growing in line", **fields))


def _stacked(row: Row, rounds: int) -> None:
    """A stack of bottlenecks, over the bare network."""
    model = AutoAdapterModel.from_pretrained(minilm_folder()).to(device())
    batch = _batch(4, 64)
    for number in range(max(STACKED)):
        model.add_adapter(str(number), "seq_bn")
        moved(model.adapters[str(number)])

    def call(count: int) -> torch.Tensor:
        model.set_active_adapters(Stack(*map(str, range(count))) if count else None)
        return model(**batch).last_hidden_state

    tasks = {str(count): (lambda count=count: call(count)) for count in (0, *STACKED)}
    times = several_in_turns(tasks, rounds, warmup=1, device=device())
    bare = sorted(times["0"])[rounds // 2]
    points = [(count, 1e3 * (sorted(times[str(count)])[rounds // 2] - bare)) for count in STACKED]
    _in_line(row, "adapters in a stack, their own time", points, 1.15)
    over = [(count, y + 1e3 * bare) for count, y in points]
    row.add_series("Time against bottlenecks in a stack", "adapters, 4 rows of 64 tokens", "ms", {"adapterzoo": over})
