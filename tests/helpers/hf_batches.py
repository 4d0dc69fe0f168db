"""Batches for models of transformers and ours: ids and masks of rows with different lengths, and labels for a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.helpers.hf_models import Case

ROWS, LENGTH, LABELS, FIRST = 4, 10, 3, 4  # FIRST: the first id that no special token has
LENGTHS = {"right": (10, 6, 1, 8), "left": (10, 6, 2, 8), "none": (10, 10, 10, 10)}


def batch(config: Any, padding: str = "right", rows: int = ROWS, length: int = LENGTH) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask`; each row ends with <eos>, where there is one.

    Args:
        config: the model's config.
        padding: "right", "left", or "none": no padding and no mask.
        rows, length: the shape.
    """
    lengths = torch.tensor(LENGTHS[padding][:rows]).clamp(max=length)[:, None]
    places = torch.arange(length)[None]
    mask = places >= length - lengths if padding == "left" else places < lengths
    ids = torch.randint(FIRST, config.vocab_size, (rows, length))
    if config.eos_token_id is not None:
        ends = torch.full((rows, 1), length - 1) if padding == "left" else lengths - 1
        ids = ids.scatter(1, ends, config.eos_token_id)
    ids = ids.masked_fill(~mask, config.pad_token_id)
    return {"input_ids": ids} if padding == "none" else {"input_ids": ids, "attention_mask": mask.long()}


def inputs_for(case: Case, config: Any, padding: str = "right") -> dict[str, Tensor]:
    """A batch in the shape that the class takes: a question's choices are a dimension of their own."""
    flat = batch(config, padding)
    if case.head_type != "multiple_choice":
        return flat
    return {name: value.unflatten(0, (-1, 2)) for name, value in flat.items()}


def _rows(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {"labels": torch.randint(config.num_labels, ids.shape[:1])}


def _tags(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {"labels": torch.randint(config.num_labels, ids.shape).masked_fill(~mask, -100)}


def _words(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    # Transformers has the padding on a row's left predict its first token, ours nothing: no label there.
    after_padding = ~torch.nn.functional.pad(mask[:, :-1], (1, 0))
    passed_over = ~mask | after_padding | (torch.rand(ids.shape) < 0.3)
    return {"labels": torch.randint(FIRST, config.vocab_size, ids.shape).masked_fill(passed_over, -100)}


def _said(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    """What a decoder should say has a length of its own."""
    said = torch.randint(FIRST, config.vocab_size, (ids.size(0), 7))
    said[0, 5:] = -100
    return {"labels": said}


def _two(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {"labels": torch.randint(2, ids.shape[:1])}


def _pretraining(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {
        **_words(ids, mask, config),
        "next_sentence_label": _two(ids, mask, config)["labels"],
    }


def _spans(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    lengths = mask.sum(1)
    start = (torch.rand(ids.size(0)) * lengths).long()
    return {"start_positions": start, "end_positions": torch.maximum(start, lengths - 1)}


def _put_there(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {"labels": torch.randint(2, ids.shape)}


MAKERS: dict[str | None, Callable[[Tensor, Tensor, Any], dict[str, Tensor]]] = {
    None: lambda ids, mask, config: {},
    "classification": _rows,
    "multiple_choice": _two,
    "tagging": _tags,
    "question_answering": _spans,
    "masked_lm": _words,
    "causal_lm": _words,
    "seq2seq_lm": _said,
    "next_sentence": _two,
    "pretraining": _pretraining,
    "token_detection": _put_there,
}


def labels_for(case: Case, config: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Labels for the class's head. A new kind of head needs a maker in the table above."""
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask", torch.ones_like(ids)).bool()
    return MAKERS[case.head_type](ids, mask, config)
