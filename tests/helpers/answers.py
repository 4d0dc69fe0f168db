"""What models with heads answer, and the comparison of two answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.helpers.peer_adapters import real_positions, same

_LOGITS = ("logits", "start_logits", "end_logits", "prediction_logits", "seq_relationship_logits")


def answer(model: Any, inputs: dict[str, Tensor], **call: Any) -> Any:
    """Return the model's output. It gets copies: the peer's heads change labels in place."""
    with torch.no_grad():
        return model(**{name: value.clone() for name, value in inputs.items()}, **call)


def same_answers(ours: Any, theirs: Any, inputs: dict[str, Tensor], loss: bool = True) -> None:
    """Assert that both answers have the same logits, where there is no padding, and the same loss, if any."""
    if loss:
        assert (ours.loss is None) == (theirs.loss is None)
    if loss and ours.loss is not None:
        same(ours.loss, theirs.loss)
    where = real_positions(inputs)
    compared = [name for name in _LOGITS if name in theirs]
    assert compared
    for name in compared:
        by_token = where is not None and theirs[name].shape[:2] == where.shape
        wanted = theirs[name] if by_token else theirs[name].view_as(ours[name])  # DeBERTa may drop a dimension of 1
        same(ours[name], wanted, where if by_token else None)
