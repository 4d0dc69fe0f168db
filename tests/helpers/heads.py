"""Flexible heads with random weights, and labels for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.helpers.batches import Batch, random_ids
from tests.helpers.tiny import randomise, tiny_model

CHOICES = 2
LABELS = 3
TOGETHER = ("multiple_choice", "similarity")
"""The types whose labels are for several rows together."""


def head_types(model: Any) -> list[str]:
    """The types of flexible heads that a model may have."""
    return list(model.head_types)


def model_for(kind: str, architecture: str) -> Any:
    """A small model on which a head of that type can be trained: for the next token, it is a decoder."""
    return tiny_model(architecture, **({"is_decoder": True} if kind == "causal_lm" else {}))


def add_head(model: Any, kind: str, name: str, **settings: Any) -> None:
    """Add a head of a type, all its weights random but for those that belong to the network."""
    config = {"head_type": kind, **_SETTINGS.get(kind, {}), **settings}
    network = {name: tensor.clone() for name, tensor in model.base.state_dict().items()}
    model.add_prediction_head_from_config(name, config)
    randomise(model.heads[name])
    model.base.load_state_dict(network)


def questions(batch: Batch) -> Batch:
    """The rows of a batch as choices of half as many questions: (B, T) to (B / 2, 2, T)."""
    return {name: tensor.unflatten(0, (-1, CHOICES)) for name, tensor in batch.items()}


def shaped(kind: str, batch: Batch) -> Batch:
    """A batch in the shape that a head of that type is trained with."""
    return questions(batch) if kind in TOGETHER else batch


def _of_rows(model: Any, ids: Tensor) -> Batch:
    return {"labels": torch.randint(LABELS, ids.shape[:1])}


def _of_tokens(model: Any, ids: Tensor) -> Batch:
    return {"labels": torch.randint(LABELS, ids.shape)}


def _yes_or_no(model: Any, ids: Tensor) -> Batch:
    return {"labels": torch.randint(2, (len(ids), LABELS)).float()}


def _words(model: Any, ids: Tensor) -> Batch:
    return {"labels": random_ids(model, *ids.shape)}


def _choices(model: Any, ids: Tensor) -> Batch:
    return {"labels": torch.randint(CHOICES, ids.shape[:1])}


def _spans(model: Any, ids: Tensor) -> Batch:
    """Starts and ends that lie in the first two tokens: every row has these."""
    return {name: torch.randint(2, ids.shape[:1]) for name in ("start_positions", "end_positions")}


def _follows(model: Any, ids: Tensor) -> Batch:
    return {"labels": torch.randint(2, ids.shape[:1])}


def _replaced(model: Any, ids: Tensor) -> Batch:
    return {"labels": torch.randint(2, ids.shape)}


def _pretraining(model: Any, ids: Tensor) -> Batch:
    return {**_words(model, ids), "next_sentence_label": torch.randint(2, ids.shape[:1])}


def _about(model: Any, ids: Tensor) -> Batch:
    """What each pair of texts is about: something else than every other."""
    return {"labels": torch.randperm(len(ids))}


def _trees(model: Any, ids: Tensor) -> Batch:
    """Two words a row, of a token and of two tokens, as every row has these; then padding."""
    word_starts = torch.tensor([[0, 1, 3, -1]]).repeat(len(ids), 1)
    padding = torch.full((len(ids), 1), -100)
    arcs, relations = (torch.randint(LABELS, (len(ids), 2)) for _ in range(2))
    return {
        "word_starts": word_starts,
        "labels_arcs": torch.cat([arcs, padding], 1),
        "labels_rels": torch.cat([relations, padding], 1),
    }


_LABELS: dict[str, Callable[[Any, Tensor], Batch]] = {
    "classification": _of_rows,
    "multilabel_classification": _yes_or_no,
    "multiple_choice": _choices,
    "tagging": _of_tokens,
    "question_answering": _spans,
    "masked_lm": _words,
    "causal_lm": _words,
    "seq2seq_lm": _words,
    "dependency_parsing": _trees,
    "similarity": _about,
    "next_sentence": _follows,
    "pretraining": _pretraining,
    "token_detection": _replaced,
}
_LABELLED = ("classification", "multilabel_classification", "tagging", "dependency_parsing")
_SETTINGS: dict[str, dict[str, Any]] = {
    **{kind: {"num_labels": LABELS} for kind in _LABELLED},
    "similarity": {"embedding_size": 5, "scale": 2.0},
}


def labels_for(model: Any, kind: str, batch: Batch) -> Batch:
    """Random labels for a head of that type; those of padding are not to be scored.

    A new type of head needs a line in the table above.
    """
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    labels = _LABELS[kind](model, ids)
    if mask is not None and labels.get("labels", ids).shape == ids.shape and "labels" in labels:
        labels["labels"] = labels["labels"].masked_fill(mask == 0, -100)
    return labels
