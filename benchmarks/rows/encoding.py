"""Batches of 32 rows of real text in the file's order, padded to their longest row, as a user has them.

Ours leaves padding out of everything but attention. The target is 0.9 of what leaving out padding can save: real
tokens / (0.9 · padded tokens). Beside transformers (SDPA), and beside the bare matrix products of the real tokens
alone as `F.linear` computes them, with nothing between them. On AMD's CPUs ours go through oneDNN, which is quicker, so
that a ratio below 1 is no mistake. "With a head" is sequence classification.
"""

from __future__ import annotations

import tempfile

import torch
import transformers

from adapterzoo import AutoModel, AutoModelForSequenceClassification, BatchEncoding
from benchmarks.machine import Gemms, device, largest_difference
from benchmarks.models import SIZES, tokenizer
from benchmarks.results import Result, Row
from benchmarks.texts import batches, corpora, padded_per_real
from benchmarks.turns import Times, several_in_turns

TITLE = "1. Encoding real text"
PEER = f"transformers {transformers.__version__}"

BATCHES = {
    "MiniLM": {"film reviews": 6, "MRPC": 3, "RTE": 2, "SciTLDR": 1, "XQuAD": 1},
    "BERT-base": {"film reviews": 1, "MRPC": 1},
}
"""How many batches of which corpus."""


@torch.no_grad()
def run(row: Row, pairs: int) -> None:
    """Every corpus at both sizes; without padding; with a head."""
    tokens = tokenizer()
    for size, batches_of in BATCHES.items():
        for corpus in corpora():
            if corpus in batches_of:
                _compare(row, size, corpus, batches(tokens, corpus, 32, batches_of[corpus], 512), pairs)
        even = {"input_ids": torch.randint(1000, 20000, (32, 64)), "attention_mask": torch.ones(32, 64).long()}
        _compare(row, size, "no padding, 32 × 64", [BatchEncoding(even)], pairs)
    if "MRPC" in corpora():
        _compare(row, "MiniLM", "MRPC", batches(tokens, "MRPC", 32, 3), pairs, head=True)


def _compare(row: Row, size: str, corpus: str, data: list[BatchEncoding], pairs: int, head: bool = False) -> None:
    folder, where = SIZES[size](), device()
    torch.manual_seed(0)
    if head:
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval().to(where)
        with tempfile.TemporaryDirectory() as copy:
            theirs.save_pretrained(copy)
            ours = AutoModelForSequenceClassification.from_pretrained(copy).to(where)
    else:
        theirs = transformers.AutoModel.from_pretrained(folder).eval().to(where)
        ours = AutoModel.from_pretrained(folder).to(where)
    data = [batch.to(where) for batch in data]
    difference = max(_difference(ours, theirs, batch) for batch in data)
    counts = [int(batch["attention_mask"].sum()) for batch in data]
    gemms, padding = Gemms(ours.base, counts), padded_per_real(data)
    times = several_in_turns(
        {
            "ours": lambda: [ours(**batch) for batch in data],
            "theirs": lambda: [theirs(**batch) for batch in data],
            "gemms": gemms,
        },
        pairs,
        warmup=1,
        device=where,
    )
    case = f"{corpus}, {size}" + (", with a head" if head else "")
    target = 1.0 if padding == 1 else 1 / (0.9 * padding)
    note = f"{padding:.2f} padded tokens for a real one" if padding > 1 else ""
    measured = Times(times["ours"], times["theirs"]).as_fields()
    row.add(Result(case=case, peer=PEER, **measured, target=target, difference=difference, tolerance=1e-4, note=note))
    measured = Times(times["ours"], times["gemms"]).as_fields()
    row.add(Result(case=case, peer="bare GEMMs of real tokens", **measured, target=1.4))


def _difference(ours: torch.nn.Module, theirs: torch.nn.Module, batch: BatchEncoding) -> float:
    a, b = ours(**batch), theirs(**batch)
    if "logits" in a:
        return largest_difference(a.logits, b.logits)
    return largest_difference(a.last_hidden_state, b.last_hidden_state, batch["attention_mask"])
