"""64 rows of 64 different adapters in one batch, over the same batch with one adapter for all rows; MiniLM-size.

Names come in another order in every call. "A new set" draws 64 of all adapters anew for each call, so that no call is
like one before. With heads, each adapter has a classification head of two layers, and one adapter has one head. The mix
has 16 each of LoRA, seq_bn, (IA)³ and prefix tuning; it is held against the mean of these four alone. Prefixes are
ejected (`prefix_tuning_flat`), as one serves them; beside it, those that an MLP makes anew in each forward.
"""

from __future__ import annotations

import random
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import adapters
import peft
import torch
import transformers
from torch import Tensor

from adapterzoo import AutoAdapterModel
from benchmarks.machine import device, largest_difference
from benchmarks.models import minilm_folder
from benchmarks.peers import ADAPTERS, moved
from benchmarks.results import Result, Row
from benchmarks.turns import Times, several_in_turns

TITLE = "4. Many adapters in one batch"
ROWS = 64
METHODS = ("lora", "seq_bn", "ia3", "prefix_tuning_flat")
HELD = (1, 4, 16, 64, 256, 1000)
ONE = "our model, one adapter for all rows"


@torch.no_grad()
def run(row: Row, pairs: int) -> None:
    """Each method and the mix; adapters held in memory; the peers over their own bare encoders."""
    for length in (16, 32):
        for method in METHODS:
            _compare(row, (method,), length, pairs, heads=length == 16)
    _compare(row, METHODS, 16, pairs, heads=True)
    _compare(row, ("prefix_tuning",), 16, min(pairs, 5), heads=False, target=None)
    _held(row, pairs)
    _peers(row, min(pairs, 7))


def _model(kinds: tuple[str, ...], count: int, heads: bool) -> Any:
    model = AutoAdapterModel.from_pretrained(minilm_folder()).eval()
    for number in range(count):
        model.add_adapter(f"a{number}", kinds[number % len(kinds)])
        if heads:
            model.add_classification_head(f"a{number}", num_labels=2)
    moved(model.adapters)
    model.active_head = None
    return model.to(device())


def _ids(length: int) -> Tensor:
    return torch.randint(1000, 20000, (ROWS, length), device=device())


def _answers(output: Any) -> Tensor:
    return output.logits if hasattr(output, "head_outputs") or "logits" in output else output.last_hidden_state


def _difference(model: Any, ids: Tensor, names: list[str]) -> float:
    """Of some rows in the batch and alone."""
    together = _answers(model(ids, adapter_names=names))
    some = range(0, ROWS, 7)
    alone = [_answers(model(ids[number : number + 1], adapter_names=[names[number]])) for number in some]
    return largest_difference(together[list(some)], torch.cat(alone))


def _compare(
    row: Row, kinds: tuple[str, ...], length: int, pairs: int, heads: bool, target: float | None = 1.1
) -> None:
    model, ids, draw = _model(kinds, ROWS, heads), _ids(length), random.Random(0)
    names = [f"a{number}" for number in range(ROWS)]

    def many() -> None:
        draw.shuffle(names)
        model(ids, adapter_names=names)

    ones = {f"a{number}": _one(model, ids, number) for number in range(len(kinds))}
    times = several_in_turns({**ones, "many": many}, pairs, device=device())
    one = [statistics.mean(turn) for turn in zip(*(times[name] for name in ones), strict=True)]
    what = kinds[0] if len(kinds) == 1 else "a mix of four"
    case = f"{what}, 64 × {length}" + (", with heads" if heads else "")
    difference = {"difference": _difference(model, ids, names), "tolerance": 1e-4}
    row.add(Result(case=case, peer=ONE, **Times(times["many"], one).as_fields(), target=target, **difference))


def _one(model: Any, ids: Tensor, number: int) -> Callable[[], object]:
    names = [f"a{number}"] * ROWS
    return lambda: model(ids, adapter_names=names)


def _held(row: Row, pairs: int) -> None:
    """LoRAs with heads, 1 to 1,000 in memory, a new set in every call: time and memory against their number."""
    model, ids, draw = _model(("lora",), 1, False), _ids(16), random.Random(0)
    model.add_classification_head("a0", num_labels=2, layers=1)
    model.active_head = None
    ours: list[tuple[float, float]] = []
    sizes: list[tuple[float, float]] = []
    one = _one(model, ids, 0)
    for held in HELD:
        for number in range(len(model.adapters), held):
            model.add_adapter(f"a{number}", "lora")
            model.add_classification_head(f"a{number}", num_labels=2, layers=1)
        model.active_head = None

        def drawn(held: int = held) -> None:
            names = draw.sample(range(held), min(held, ROWS))
            model(ids, adapter_names=[f"a{names[place % len(names)]}" for place in range(ROWS)])

        times = several_in_turns({"drawn": drawn, "one": one}, pairs, warmup=4, device=device())
        found = Times(times["drawn"], times["one"])
        own = sum(p.numel() * p.element_size() for p in model.adapters["a0"].parameters())
        used = sum(p.numel() * p.element_size() for p in model.adapters.parameters())
        ours.append((held, statistics.median(found.ours) * 1e3))
        sizes.append((held, used / 2**20))
        target = 1.1 if held >= ROWS else None
        case = f"LoRA with heads of one layer, a new set of {min(held, ROWS)} of {held} held, 64 × 16"
        row.add(Result(case=case, peer=ONE, **found.as_fields(), target=target))
        if held == HELD[-1]:
            row.add(
                Result(
                    case=f"memory of {held} LoRAs",
                    peer="so many times one's own bytes",
                    ours=used / 2**20,
                    theirs=held * own / 2**20,
                    ratios=(used / (held * own),),
                    unit="MB",
                    target=1.0,
                )
            )
    row.add_series("64 rows, adapters drawn anew for each batch", "adapters held", "ms", {"LoRA with heads": ours})
    row.add_series("Memory of adapters", "adapters held", "MB", {"LoRA": sizes})


def _peers(row: Row, pairs: int) -> None:
    """64 LoRAs in a batch over each library's own bare encoder."""
    ids, mask = _ids(16), torch.ones(ROWS, 16, dtype=torch.long, device=device())
    names = [f"a{number}" for number in range(ROWS)]
    ours = _model(("lora",), ROWS, False)
    times = several_in_turns(
        {
            "ours": lambda: ours(ids, adapter_names=names),
            "bare": lambda: ours(ids),
            **_peft_tasks(ids, mask, names),
            **_adapters_tasks(ids, mask, names),
        },
        pairs,
        device=device(),
    )
    for name, what in (("ours", "ours, adapter_names"), ("peft", f"PEFT {peft.__version__}, adapter_names"),
                       ("split", f"{ADAPTERS}, BatchSplit")):  # fmt: skip
        bare = {"ours": "bare", "peft": "peft bare", "split": "split bare"}[name]
        fields = Times(times[name], times[bare]).as_fields()
        row.add(Result(case=f"{what}, 64 LoRAs, 64 × 16", peer="its own bare encoder", **fields))
    fields = Times(times["ours"], times["peft"]).as_fields()
    row.add(Result(case="ours, 64 LoRAs, 64 × 16", peer=f"PEFT {peft.__version__}", **fields, target=1.0))
    fields = Times(times["ours"], times["split"]).as_fields()
    row.add(Result(case="ours, 64 LoRAs, 64 × 16", peer=f"{ADAPTERS}, BatchSplit", **fields, target=1.0))


def _peft_tasks(ids: Tensor, mask: Tensor, names: list[str]) -> dict[str, Callable[[], object]]:
    bare = transformers.AutoModel.from_pretrained(minilm_folder()).eval().to(device())
    config = peft.LoraConfig(r=8, target_modules=["query", "value"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(
            transformers.AutoModel.from_pretrained(minilm_folder()), config, adapter_name=names[0]
        )
        for name in names[1:]:
            model.add_adapter(name, config)
    model = model.eval().to(device())
    return {
        "peft": lambda: model(input_ids=ids, attention_mask=mask, adapter_names=names),
        "peft bare": lambda: bare(input_ids=ids, attention_mask=mask),
    }


def _adapters_tasks(ids: Tensor, mask: Tensor, names: list[str]) -> dict[str, Callable[[], object]]:
    model = adapters.AutoAdapterModel.from_pretrained(minilm_folder())
    bare = adapters.AutoAdapterModel.from_pretrained(minilm_folder()).eval().to(device())
    for name in names:
        model.add_adapter(name, config="lora")
    model.set_active_adapters(adapters.composition.BatchSplit(*names, batch_sizes=[1] * ROWS))
    model = model.eval().to(device())
    return {
        "split": lambda: model(input_ids=ids, attention_mask=mask),
        "split bare": lambda: bare(input_ids=ids, attention_mask=mask),
    }


NOTES = """
What 64 adapters cost beyond one: their weights are brought side by side anew in every forward, so that no copy can go
stale (LoRA and seq_bn: 4.5 to 5 ms in a profile of 64 × 16 tokens), and the batched products take about 1.7 times one
adapter's. 64 heads of two layers are 38 MB of weights that one head does not read: their bare products took 4 to 6 ms
(3 with packed weights), one head's over all rows 0.2 ms; that is 3 to 4 % of the whole, and no way around it was found.
Without heads, or with more tokens, where the same milliseconds are spread, the target is met.

In the mix, rows with a prefix attend apart from those without, so that none looks at empty room: 1.32 before, about 1.2
since. What is left of it in a profile, of 155 ms: 5 ms of heads, 4.5 of weights side by side, 2.5 of batched products,
2.5 of GELU, which is a pass of its own where (IA)³ stands between it and the product, and some 6 ms of Python for four
kinds of units where one adapter has one.

One adapter for all rows has become nearly free (row 3), so that the same milliseconds weigh more here. A new set of
64 of 1,000 adapters is made ready anew (some 3 ms), and most of its weights were not read in the call before.
"""
