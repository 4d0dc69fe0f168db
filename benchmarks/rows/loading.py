"""Loading from files in the machine's cache, and what a process takes from its start.

A checkpoint of BERT-base's size; the import over `import torch`; a process from its start to its first prediction of a
sentence with an adapter and a head; a hundred adapters with heads into a loaded model. Processes are whole ones, in
turns, but for an import, timed within its own; what is imported was compiled before. "And read once" adds to a load
what a memory map puts off: a sum over every tensor. The adapters are LoRAs of rank 8 with heads of two layers, each
in a folder of AdapterHub's format.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapters
import torch
import transformers

from adapterzoo import AutoAdapterModel, AutoModel
from benchmarks.machine import largest_difference
from benchmarks.models import bert_base_folder, minilm_folder
from benchmarks.peers import ADAPTERS, moved
from benchmarks.results import Result, Row
from benchmarks.turns import Times, in_turns, printed, processes_in_turns, python, run_process

TITLE = "7. Loading"
TRANSFORMERS = f"transformers {transformers.__version__}"
PEERS = ("transformers", "adapters")
COUNT = 100
IMPORT = """
import json, time, torch
start = time.perf_counter()
import {}
print(json.dumps({{"seconds": time.perf_counter() - start}}))
"""
TOKENS = torch.tensor([[101, 1037, 2143, 102]])


@torch.no_grad()
def run(row: Row, pairs: int) -> None:
    """The checkpoint, the imports, the first prediction, the adapters."""
    _checkpoint(row, pairs)
    _imports(row, pairs)
    with tempfile.TemporaryDirectory() as folder:
        _write_adapters(Path(folder))
        _first_prediction(row, Path(folder) / "0", pairs)
        _adapters(row, Path(folder), pairs)
        _growth(row, Path(folder))


def _checkpoint(row: Row, pairs: int) -> None:
    folder = bert_base_folder()

    def ours() -> torch.nn.Module:
        return AutoModel.from_pretrained(folder)

    def theirs() -> torch.nn.Module:
        return transformers.AutoModel.from_pretrained(folder)

    a, b = ours(), theirs()
    with tempfile.TemporaryDirectory() as copy:  # the state dict under HF's names is what is written
        a.save_pretrained(copy)
        again = transformers.AutoModel.from_pretrained(copy).state_dict()
    difference = max(largest_difference(again[name], tensor) for name, tensor in b.state_dict().items())
    for case, more in (("BERT-base's checkpoint", False), ("BERT-base's checkpoint, and read once", True)):
        times = in_turns(_with_read(ours, more), _with_read(theirs, more), pairs, least=0.3)
        target = None if more else 0.5
        equal = {"difference": difference, "tolerance": 0.0, "note": "difference: state dicts"}
        row.add(Result(case=case, peer=TRANSFORMERS, **times.as_fields(), target=target, **equal))
    alone = in_turns(ours, lambda: _joined(b), pairs, least=0.3)
    row.add(Result(case="BERT-base's checkpoint", peer="joining query, key and value alone", **alone.as_fields()))


def _joined(model: Any) -> list[torch.Tensor]:
    """The one copy that a load makes: query, key and value of each layer into one tensor."""
    blocks = [layer.attention.self for layer in model.encoder.layer]
    return [torch.cat([block.query.weight, block.key.weight, block.value.weight]) for block in blocks]


def _with_read(load: Callable[[], torch.nn.Module], read: bool) -> Callable[[], object]:
    return (lambda: [tensor.sum() for tensor in load().state_dict().values()]) if read else load


def _imports(row: Row, pairs: int) -> None:
    """Seconds that an import takes in a process that has imported torch; the peers' beside ours."""
    commands = {name: python("-c", IMPORT.format(name)) for name in ("adapterzoo", *PEERS)}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(-1, pairs):  # the first is for compiling
        for name in commands if turn % 2 else reversed(commands):
            took = run_process(commands[name], "seconds")
            times[name] += [took] if turn >= 0 else []
    for peer in PEERS:
        against = Times(times["adapterzoo"], times[peer]).as_fields(1, "s")
        row.add(Result(case="import adapterzoo, after import torch", peer=f"import {peer}", **against))
    ours = times["adapterzoo"]
    seconds = {"ours": statistics.median(ours), "theirs": 1.0, "ratios": tuple(ours), "unit": "s", "target": 0.15}
    row.add(Result(case="import adapterzoo, after import torch", peer="one second", **seconds))


def _write_adapters(folder: Path) -> None:
    torch.manual_seed(0)
    model = AutoAdapterModel.from_pretrained(minilm_folder())
    for number in range(COUNT):
        name = str(number)
        model.add_adapter(name, "lora[r=8]")
        model.add_classification_head(name, num_labels=3)
        moved(model.adapters[name])
        model.save_adapter(folder / name, name)


def _first_prediction(row: Row, adapter: Path, pairs: int) -> None:
    ours, theirs = (
        python("-m", "benchmarks.first_prediction", library, str(minilm_folder()), str(adapter))
        for library in ("ours", "adapters")
    )
    difference = largest_difference(*(torch.tensor(printed(command)["logits"]) for command in (ours, theirs)))
    times = processes_in_turns(ours, theirs, pairs, warmup=0)  # both have run
    case = "from a process's start to its first prediction"
    equal = {"difference": difference, "tolerance": 1e-5}
    row.add(Result(case=case, peer=ADAPTERS, **times.as_fields(1, "s"), target=0.5, **equal))


def _adapters(row: Row, folder: Path, pairs: int) -> None:
    names = [str(number) for number in range(COUNT)]
    ours = AutoAdapterModel.from_pretrained(minilm_folder())
    theirs = adapters.AutoAdapterModel.from_pretrained(minilm_folder()).eval()
    times, difference = Times([], []), 0.0
    for pair in range(-1, pairs):
        turns = [(ours, times.ours), (theirs, times.theirs)]
        for model, kept in turns if pair % 2 == 0 else turns[::-1]:
            start = time.perf_counter()
            for name in names:
                model.load_adapter(str(folder / name), use_safetensors=True)
            kept += [time.perf_counter() - start] if pair >= 0 else []
        if pair < 0:
            difference = max(largest_difference(_logits(ours, name), _logits(theirs, name)) for name in names[::10])
        for model in (ours, theirs):
            for name in names:
                model.delete_adapter(name)
                model.delete_head(name)
    case, equal = f"{COUNT} adapters with heads", {"difference": difference, "tolerance": 1e-5}
    row.add(Result(case=case, peer=ADAPTERS, **times.as_fields(1, "s"), **equal))
    seconds = {"ours": statistics.median(times.ours), "theirs": 1.0, "ratios": tuple(times.ours), "unit": "s"}
    row.add(Result(case=case, peer="one second", **seconds, target=1.0))


def _logits(model: Any, name: str) -> torch.Tensor:
    model.set_active_adapters(name)
    logits: torch.Tensor = model(TOKENS).logits
    return logits


def _growth(row: Row, folder: Path) -> None:
    """Milliseconds for each of 1,000 adapters, by how many there are already."""
    model, points = AutoAdapterModel.from_pretrained(minilm_folder()), []
    for hundred in range(10):
        start = time.perf_counter()
        for number in range(COUNT):
            name = f"{hundred}-{number}"
            model.load_adapter(folder / str(number), load_as=name, set_active=True)
        points.append((float((hundred + 1) * COUNT), (time.perf_counter() - start) / COUNT * 1e3))
    row.add_series("Loading one more adapter", "adapters in the model", "ms", {"LoRA with a head": points})


NOTES = """
The checkpoint's target is missed. A load makes one copy: query, key and value of each layer become one tensor, 85 MB of
BERT-base's 438 MB; the rest stays in the file's map, as in transformers, which joins nothing. The joins alone are the
line "joining query, key and value alone" where the memory is at hand (5 to 10 ms); where it is new, the system clears
each page of it, which took 32 to 45 ms, more than transformers' whole load. Which of the two it is changes from load to
load with what was freed before, and so the ratio was 0.61 one day, 0.85 the next and 1.38 the third. Asking for huge
pages took 12 to 20 ms at best and 190 at worst. What is left is Python: 125 modules and 151 tensors. In a process that
loads once, from its start, ours took 64 to 72 ms and transformers' 104 to 117. Once every tensor has been read, we are
ahead: the map is read in the first forward, which puts off what a load seems to save.

Python's garbage collector is paused while modules are imported: what they make stays, and otherwise sets off one
collection that walks all of PyTorch's objects, too. With it, an import took 0.22 s; without, 0.13 s, of which making
some 100 dataclasses is the largest part.
"""
