"""bfloat16 and int8 beside float32, ours beside ours, on CPUs: real text in batches of 32 rows in the file's order.

int8 are the weights of the frozen network (`quantize_base`), and what is multiplied with them, token by token; adapters
and heads are floats. The accuracy is that of a LoRA and a head trained on the film reviews that ship, in float32, then
run in each precision on the same test split. Rows of a precision that the CPU has no instructions for have no target.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from adapterzoo import AutoAdapterModel, BatchEncoding, is_fast_on_cpu
from benchmarks.machine import Gemms
from benchmarks.models import SIZES, tokenizer
from benchmarks.peers import moved
from benchmarks.results import Result, Row
from benchmarks.texts import batches, corpora
from benchmarks.turns import Times, several_in_turns
from examples.reviews import batched, read, tokenize_with
from examples.training import accuracy, logits_of, train, train_step

TITLE = "9. Low precision on CPU"
PEER = "our float32"
TARGETS = {"bfloat16": (torch.bfloat16, 1 / 1.8), "int8": (torch.int8, 1 / 2)}
METHODS = {"MiniLM": (None, "lora", "seq_bn"), "BERT-base": (None, "lora")}
EPOCHS, RATE = 1, 1e-3


def run(row: Row, pairs: int) -> None:
    """Times at both sizes, the products alone, a batch of one, accuracy, and a training step on int8."""
    tokens = tokenizer()
    for size in SIZES:
        few, count = (("film reviews", "MRPC"), 2) if size == "MiniLM" else (("MRPC",), 1)
        for corpus in [name for name in few if name in corpora()] or ["film reviews"]:
            for method in METHODS[size] if corpus == few[-1] or len(corpora()) == 1 else (None,):
                _times(row, size, corpus, batches(tokens, corpus, 32, count), method, pairs)
        _times(row, size, "one row of 16 tokens", [_random(1, 16)], "lora", pairs)
        _products(row, size, pairs)
    _training(row, pairs)
    _accuracy(row)


def _random(rows: int, length: int) -> BatchEncoding:
    ids = torch.randint(1000, 20000, (rows, length))
    return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def _precisions(model: Any) -> dict[str, Any]:
    """The same model in each precision."""
    return {
        "float32": model,
        "bfloat16": copy.deepcopy(model).to(torch.bfloat16),
        "int8": copy.deepcopy(model).quantize_base(),
    }


@torch.no_grad()
def _times(row: Row, size: str, corpus: str, data: list[BatchEncoding], method: str | None, pairs: int) -> None:
    model = AutoAdapterModel.from_pretrained(SIZES[size]())
    if method is not None:
        model.add_adapter(method, method, set_active=True)
        moved(model.adapters[method])
    models = _precisions(model)
    tasks = {name: (lambda one=one: [one(**batch) for batch in data]) for name, one in models.items()}
    times = several_in_turns(tasks, pairs, warmup=1)
    for name, (dtype, target) in TARGETS.items():
        gated = target if is_fast_on_cpu(dtype) and len(data[0]["input_ids"]) > 1 else None
        note = f"turn away from float32's vectors: {_turned(model, models[name], data[0]):.4f} (1 - cosine, mean)"
        case = f"{name}, {corpus}, {size}" + ("" if method is None else f", {method}")
        against = Times(times[name], times["float32"]).as_fields()
        row.add(Result(case=case, peer=PEER, **against, target=gated, note=note))


def _turned(model: Any, other: Any, batch: BatchEncoding) -> float:
    mask = batch["attention_mask"].bool()
    a, b = (one(**batch).last_hidden_state[mask].float() for one in (model, other))
    return float(1 - torch.cosine_similarity(a, b, -1).mean())


@torch.no_grad()
def _products(row: Row, size: str, pairs: int) -> None:
    """What no implementation can go below: the bare products of each precision, at 32 × 64 tokens."""
    network = AutoAdapterModel.from_pretrained(SIZES[size]()).base
    full, half = Gemms(network, [2048]), Gemms(copy.deepcopy(network).to(torch.bfloat16), [2048])
    whole = [weight.mul(100).to(torch.int8).t() for weight, _ in full.linears]
    inputs = {width: tensor.mul(30).to(torch.int8) for width, tensor in full.batches[0].items()}
    tasks = {
        "float32": full,
        "bfloat16": half,
        "int8": lambda: [torch._int_mm(inputs[weight.size(0)], weight) for weight in whole],
    }
    times = several_in_turns(tasks, pairs, warmup=1)
    for name in TARGETS:
        against = Times(times[name], times["float32"]).as_fields()
        row.add(Result(case=f"bare {name} products, 2048 tokens, {size}", peer="bare float32 products", **against))


def _accuracy(row: Row) -> None:
    tokenize = tokenize_with(tokenizer())
    data = {split: batched(read(split), tokenize) for split in ("train", "validation", "test")}
    model = _trainable()
    torch.manual_seed(0)
    history = train(model, "float32", data, EPOCHS, RATE)
    models = _precisions(model)
    found = {name: 100 * accuracy(logits_of(one, data["test"]), data["test"]) for name, one in models.items()}
    for name in TARGETS:
        lost = found["float32"] - found[name]
        note = f"{history.trained} trained numbers; {lost:.2f} points lost"
        case, least = f"accuracy on the film reviews, {name}", 1 - 0.5 / found["float32"]
        shares = {"ours": found[name], "theirs": found["float32"], "ratios": (found[name] / found["float32"],)}
        row.add(Result(case=case, peer=PEER, **shares, unit="%", target=least, more_is_better=True, note=note))


def _trainable() -> Any:
    torch.manual_seed(0)
    model = AutoAdapterModel.from_pretrained(SIZES["MiniLM"]())
    model.add_adapter("reviews", "lora")
    model.add_classification_head("reviews", num_labels=2)
    model.train_adapter("reviews")
    return model


def _training(row: Row, pairs: int) -> None:
    """Steps of a LoRA on int8: time and the weights' bytes beside float32, and where the loss goes."""
    data = batched(read("train"), tokenize_with(tokenizer()))[20:60:8]
    models = {"float32": _trainable(), "int8": _trainable().quantize_base()}
    kinds = {name: [p for p in one.parameters() if p.requires_grad] for name, one in models.items()}
    optimizers = {name: torch.optim.AdamW(trained, lr=RATE) for name, trained in kinds.items()}
    losses: dict[str, list[float]] = {name: [] for name in models}

    def steps(name: str) -> None:
        found = [train_step(models[name], batch, optimizers[name]) for batch in data]
        losses[name].append(sum(found) / len(found))

    times = several_in_turns({name: (lambda name=name: steps(name)) for name in models}, pairs, warmup=1)
    if not losses["int8"][-1] < losses["int8"][0]:
        raise AssertionError(f"training on int8 does not learn: {losses['int8']}")
    first, last = ({name: found[at] for name, found in losses.items()} for at in (0, -1))
    note = "loss " + ", ".join(f"{name} {first[name]:.3f} → {last[name]:.3f}" for name in models)
    against = Times(times["int8"], times["float32"]).as_fields()
    row.add(Result(case="training steps of a LoRA on int8, MiniLM", peer=PEER, **against, note=note))
    ours, theirs = (_bytes(models[name]) / 2**20 for name in ("int8", "float32"))
    shares = {"ours": ours, "theirs": theirs, "ratios": (ours / theirs,), "unit": "MB"}
    row.add(Result(case="bytes of the layers' tensors, MiniLM, int8", peer=PEER, **shares))


def _bytes(model: Any) -> int:
    layers = model.base.encoder
    return sum(tensor.numel() * tensor.element_size() for tensor in (*layers.parameters(), *layers.buffers()))


NOTES = """
- **bfloat16.** Its bare products take 0.47 of float32's here: the processor multiplies twice as many at once, no
  more. Attention takes as long as in float32 (a fifth of the whole at width 384): PyTorch's kernel for bfloat16 is
  slower at these lengths, and turning q, k and v into float32 and back costs what it saves. So the whole lies above the
  target where the network is narrow.
- **int8.** Its bare products take 0.34 of float32's at width 384 and 0.24 at 768. Around them lie passes over inputs
  and outputs: each token's largest number is found, numbers are rounded, sums scaled. In a profile at width 384 the
  products took 38 %, attention 20 %, those passes about 25 %. Attention, GELU and LayerNorm stay float32.
"""
