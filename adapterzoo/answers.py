"""What heads say of texts, in words: labels with scores, tags of words, numbers, spans.

Shapes: B rows, T tokens, C labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.outputs import ModelOutput
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.classification import ClassificationHead, MultiLabelClassificationHead
from adapterzoo.heads.token import QuestionAnsweringHead, TaggingHead
from adapterzoo.tokenization.inputs import Row
from adapterzoo.tokenizer import BatchEncoding

LONGEST_ANSWER = 30
"""Tokens in the longest span that answers a question."""


@dataclass(frozen=True)
class Asked:
    """What was asked about some rows of a batch.

    Attributes:
        texts: the rows' texts.
        lengths: their tokens.
        encodings: their tokens, words and characters, for heads that need these; row i is `encodings[rows[i]]`.
        rows: the rows' numbers in `encodings`.
        top_k: how many labels to tell; None: as many as are usual.
    """

    texts: list[Row]
    lengths: list[int]
    encodings: BatchEncoding | None
    rows: list[int]
    top_k: int | None

    def words_of(self, number: int) -> Any:
        """The `tokenizers.Encoding` of a row."""
        assert self.encodings is not None
        return self.encodings[self.rows[number]]


def reads_words(head: PredictionHead) -> bool:
    """Whether what a head says is about words or characters."""
    return isinstance(head, (TaggingHead, QuestionAnsweringHead))


@singledispatch
def answers(head: PredictionHead, output: ModelOutput, asked: Asked) -> list[Any]:
    """What a head says, row by row. Of any head that is not named below: its tensors, padding cut off.

    Args:
        head: the head.
        output: its output for B rows.
        asked: what was asked.
    """
    rows, longest = len(asked.lengths), max(asked.lengths)
    tensors = {key: value for key, value in output.items() if isinstance(value, Tensor) and value.dim()}
    return [
        {key: value[row, :length] if value.shape[1:2] == (longest,) else value[row] for key, value in tensors.items()}
        for row, length in zip(range(rows), asked.lengths, strict=True)
    ]


@answers.register(ClassificationHead)
def _(head: ClassificationHead, output: ModelOutput, asked: Asked) -> list[Any]:
    """`{"label": …, "score": …}`, or a list of the `top_k` best; of a regression a number, or a list of numbers."""
    logits = output["logits"].float()
    if head.config.get("problem_type", "regression" if logits.size(1) == 1 else None) == "regression":
        return (logits.squeeze(1) if logits.size(1) == 1 else logits).tolist()  # type: ignore[no-any-return]
    ranked = _ranked(head, logits.softmax(-1), asked.top_k or 1)
    return [row[0] for row in ranked] if asked.top_k is None else ranked


@answers.register(MultiLabelClassificationHead)
def _(head: MultiLabelClassificationHead, output: ModelOutput, asked: Asked) -> list[Any]:
    """A list of all labels, or the `top_k` best, with the probability of each."""
    scores = output["logits"].float().sigmoid()
    return _ranked(head, scores, asked.top_k or scores.size(1))


def _ranked(head: PredictionHead, scores: Tensor, count: int) -> list[list[dict[str, Any]]]:
    """Labels with scores (B, C), best first."""
    names = _names(head, scores.size(1))
    best, numbers = scores.topk(min(count, scores.size(1)))
    return [
        [{"label": names[number], "score": score} for score, number in zip(*row, strict=True)]
        for row in zip(best.tolist(), numbers.tolist(), strict=True)
    ]


def _names(head: PredictionHead, count: int) -> dict[int, str]:
    return head.id2label() or {number: f"LABEL_{number}" for number in range(count)}


@answers.register(TaggingHead)
def _(head: TaggingHead, output: ModelOutput, asked: Asked) -> list[Any]:
    """For each word `{"word", "label", "score"}`, by its first token; of texts, not words, also `start` and `end`."""
    best, numbers = output["logits"].float().softmax(-1).max(-1)
    names = _names(head, output["logits"].size(-1))
    found = []
    for row, (scores, labels) in enumerate(zip(best.tolist(), numbers.tolist(), strict=True)):
        told = []
        for token, word in _words(asked.words_of(row), asked.texts[row]):
            told.append({**word, "label": names[labels[token]], "score": scores[token]})
        found.append(told)
    return found


def _words(encoding: Any, text: Row) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each word's first token, and what to call it."""
    before = None
    for token, (sequence, word) in enumerate(zip(encoding.sequence_ids, encoding.word_ids, strict=True)):
        if word is None or (sequence, word) == before:
            continue
        before = sequence, word
        own = text[sequence] if isinstance(text, tuple) else text
        if isinstance(own, list):
            yield token, {"word": own[word]}
        else:
            start, end = encoding.word_to_chars(word, sequence)
            yield token, {"word": own[start:end], "start": start, "end": end}


@answers.register(QuestionAnsweringHead)
def _(head: QuestionAnsweringHead, output: ModelOutput, asked: Asked) -> list[Any]:
    """`{"answer", "score", "start", "end"}`: the likeliest span of the second text, in characters."""
    found = []
    for row, (start, end) in enumerate(zip(output["start_logits"], output["end_logits"], strict=True)):
        encoding, text = asked.words_of(row), asked.texts[row]
        if not isinstance(text, tuple):
            raise ValueError(f"a question comes with the text that answers it, as a pair, but there is {text!r} alone")
        own = torch.tensor([sequence == 1 for sequence in encoding.sequence_ids], device=start.device)
        found.append(_span(start[: len(own)], end[: len(own)], own, encoding.offsets, text[1]))
    return found


def _span(start: Tensor, end: Tensor, own: Tensor, offsets: list[tuple[int, int]], text: str) -> dict[str, Any]:
    """The likeliest span among tokens (T,) of one text."""
    if not bool(own.any()):
        return {"answer": "", "score": 0.0, "start": 0, "end": 0}
    least = torch.finfo(torch.float32).min
    begins, ends = (logits.float().masked_fill(~own, least).softmax(0) for logits in (start, end))
    joint = (begins[:, None] * ends).triu().tril(LONGEST_ANSWER - 1)
    first, last = divmod(int(joint.argmax()), len(own))
    left, right = offsets[first][0], offsets[last][1]
    return {"answer": text[left:right], "score": float(joint[first, last]), "start": left, "end": right}
