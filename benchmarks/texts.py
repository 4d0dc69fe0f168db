"""Real text in batches: the film reviews that ship, and MRPC, RTE, SciTLDR and XQuAD where they lie at hand."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from adapterzoo import BatchEncoding, Tokenizer

REVIEWS = Path(__file__).parent.parent / "examples/data/film-reviews/test.tsv"
SHARED = Path(os.environ.get("ADAPTERZOO_SHARED", "../shared")) / "data"

Text = str | tuple[str, str]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _reviews() -> list[Text]:
    return [line.split("\t")[1] for line in REVIEWS.read_text(encoding="utf-8").splitlines()[1:]]


def _mrpc() -> list[Text]:
    return [(row["#1 String"], row["#2 String"]) for row in _rows(SHARED / "mrpc/msr_paraphrase_test.txt")]


def _rte() -> list[Text]:
    return [(row["sentence1"], row["sentence2"]) for row in _rows(SHARED / "rte/train.tsv")]


def _scitldr() -> list[Text]:
    lines = (SHARED / "scitldr/test.jsonl").read_text(encoding="utf-8").splitlines()
    return [" ".join(json.loads(line)["source"]) for line in lines]


def _xquad() -> list[Text]:
    data = json.loads((SHARED / "xquad-en/xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    return [(qa["question"], paragraph["context"]) for paragraph in paragraphs for qa in paragraph["qas"]]


CORPORA: dict[str, Callable[[], list[Text]]] = {
    "film reviews": _reviews,
    "MRPC": _mrpc,
    "RTE": _rte,
    "SciTLDR": _scitldr,
    "XQuAD": _xquad,
}
"""Texts, or pairs of them, in the files' order, by the corpus's name."""


def corpora() -> list[str]:
    """The corpora at hand: those that ship, and those of ADAPTERZOO_SHARED if it is there."""
    return [name for name in CORPORA if name == "film reviews" or SHARED.is_dir()]


def batches(
    tokenizer: Tokenizer, corpus: str, size: int = 32, count: int = 10, max_length: int | None = None
) -> list[BatchEncoding]:
    """Batches in the file's order, each padded to its longest row.

    Args:
        tokenizer: makes ids of text.
        corpus: its name.
        size: rows of a batch.
        count: how many batches at most.
        max_length: where rows are cut off; the model's longest if None.
    """
    texts = CORPORA[corpus]()[: size * count]
    found = []
    for start in range(0, len(texts), size):
        part = texts[start : start + size]
        first = [text if isinstance(text, str) else text[0] for text in part]
        second = None if isinstance(part[0], str) else [text[1] for text in part]
        options = {"padding": True, "truncation": True, "max_length": max_length, "return_tensors": "pt"}
        found.append(tokenizer(first, second, **options))
    return found


def padded_per_real(data: list[BatchEncoding]) -> float:
    """Tokens with padding for each real one."""
    masks = [batch["attention_mask"] for batch in data]
    return sum(mask.numel() for mask in masks) / sum(int(mask.sum()) for mask in masks)
