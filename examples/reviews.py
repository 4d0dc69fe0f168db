"""Read the film reviews and cut them into batches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

DATA = Path(__file__).parent / "data" / "film-reviews"
LABELS = {0: "negative", 1: "positive"}
NEUTRAL = 0.5
MAX_LENGTH = 64

Tokenize = Callable[[list[str]], dict[str, Tensor]]


@dataclass(frozen=True)
class Review:
    """A sentence about a film and the mean of its human ratings, from -4 to 4."""

    text: str
    rating: float

    @property
    def label(self) -> int:
        """1 for a positive mean rating, 0 for a negative one."""
        return int(self.rating > 0)


@dataclass(frozen=True)
class Batch:
    """Token ids and mask of some reviews, padded to the longest of them, with their labels."""

    inputs: dict[str, Tensor]
    labels: Tensor


Data = dict[str, list[Batch]]


def read(split: str) -> list[Review]:
    """Read `train`, `validation` or `test`, leaving out the near-neutral sentences."""
    lines = (DATA / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    reviews = [Review(text, float(rating)) for rating, text in (line.split("\t") for line in lines)]
    return [review for review in reviews if abs(review.rating) >= NEUTRAL]


def tokenize_with(tokenizer: Callable[..., Mapping[str, Tensor]]) -> Tokenize:
    """Return the tokenizer with the settings used here."""

    def tokenize(texts: list[str]) -> dict[str, Tensor]:
        found = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        return dict(found)

    return tokenize


def batched(reviews: list[Review], tokenize: Tokenize, size: int = 32) -> list[Batch]:
    """Cut reviews into batches of similar length, so that little of a batch is padding."""
    ordered = sorted(reviews, key=lambda review: len(review.text))
    chunks = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [
        Batch(tokenize([review.text for review in chunk]), torch.tensor([review.label for review in chunk]))
        for chunk in chunks
    ]


def majority_accuracy(train: list[Batch], test: list[Batch]) -> float:
    """Return the accuracy on the second list of always answering the first one's most frequent label."""
    most_frequent = torch.cat([batch.labels for batch in train]).mode().values
    return float((torch.cat([batch.labels for batch in test]) == most_frequent).float().mean())
