"""Encoding real text with MiniLM, beside transformers: `python -m benchmarks.encode`.

The two run in turns, A B A B …, on the same batches with the same weights; each pair gives a ratio, for the machine's
speed drifts. Their outputs are compared in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from tqdm import tqdm

from adapterzoo import AutoModel, AutoTokenizer, BatchEncoding
from examples.weights import minilm

REVIEWS = Path(__file__).parent.parent / "examples/data/film-reviews/test.tsv"


def batches(size: int, count: int) -> list[BatchEncoding]:
    """Batches of film reviews in the file's order, padded to their longest."""
    lines = REVIEWS.read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[1] for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    starts = range(0, min(len(texts), size * count), size)
    return [tokenizer(texts[i : i + size], padding=True, truncation=True, return_tensors="pt") for i in starts]


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=10)
    args = parser.parse_args()
    data = batches(args.batch_size, args.batches)
    ours, theirs = AutoModel.from_pretrained(minilm()), transformers.AutoModel.from_pretrained(minilm()).eval()
    worst = 0.0
    for batch in data:
        difference = ours(**batch).last_hidden_state - theirs(**batch).last_hidden_state
        worst = max(worst, float(difference[batch["attention_mask"].bool()].abs().max()))
    ratios = []
    for _ in tqdm(range(args.pairs), desc="pairs", disable=None):
        a = seconds(lambda: [ours(**batch) for batch in data])
        b = seconds(lambda: [theirs(**batch) for batch in data])
        ratios.append(b / a)
    padded = sum(batch["attention_mask"].numel() for batch in data) / sum(int(b["attention_mask"].sum()) for b in data)
    print(f"film reviews, batches of {args.batch_size}: {padded:.2f} padded tokens for a real one")
    print(f"largest difference of last hidden states: {worst:.1e}")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"times as fast as transformers {transformers.__version__}: {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
