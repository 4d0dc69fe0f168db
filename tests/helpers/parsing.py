"""Random dependency trees over the rows of a batch, and what a parser's scores of them mean."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

RELATIONS = 3


def trees(lengths: list[int], length: int, padding: int = -1, finest: bool = False) -> dict[str, Tensor]:
    """Words, heads and relations, one row a row of tokens, as many columns as the peer's head wants.

    Args:
        lengths: tokens of each row.
        length: T.
        padding: what stands where there is no word.
        finest: whether each token is a word, the first one as well; else words are of one or two tokens after it.
    """
    rows = []
    for tokens in lengths:
        starts = list(range(tokens + 1)) if finest else [1]
        while not finest and starts[-1] < tokens - 1:
            starts.append(starts[-1] + random.choice([1, 1, 2]))
        rows.append(starts)
    words = [len(starts) - 1 for starts in rows]
    return {
        "word_starts": _filled(rows, length + 1, padding),
        "labels_arcs": _filled(
            [[random.randrange(count + 1) for _ in range(count)] for count in words], length, padding
        ),
        "labels_rels": _filled([[random.randrange(RELATIONS) for _ in range(n)] for n in words], length, padding),
    }


def _filled(rows: list[list[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])


def counts(starts: Tensor) -> list[int]:
    """How many words each row has, where words are padded with negative numbers."""
    return [int((row >= 0).sum()) - 1 for row in starts]


def loss_of(output: Any, tree: dict[str, Tensor]) -> Tensor:
    """The loss by its definition, word for word: over the root and the words that a row has."""
    arcs, relations = [], []
    for row, words in enumerate(counts(tree["word_starts"])):
        for word in range(words):
            head = tree["labels_arcs"][row, word]
            arcs.append(F.cross_entropy(output["arc_preds"][row, word, : words + 1], head))
            relations.append(F.cross_entropy(output["rel_preds"][row, word, head], tree["labels_rels"][row, word]))
    return torch.stack(arcs).mean() + torch.stack(relations).mean()


def scores(output: Any, tree: dict[str, Tensor]) -> dict[str, Tensor]:
    """The scores of words and heads that there are, by field."""
    spans = list(enumerate(counts(tree["word_starts"])))
    return {
        name: torch.cat([output[name][row, :words, : words + 1].flatten() for row, words in spans])
        for name in ("arc_preds", "rel_preds")
    }
