"""Losses, with labels checked first: PyTorch's own words for a label out of range do not say which."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100


def check_labels(labels: Tensor, count: int) -> None:
    """Check that labels are whole numbers from 0 to below `count`, or -100, which losses pass over.

    Raises:
        ValueError: one is not; the message holds it.
    """
    if torch.compiler.is_compiling():
        return
    if labels.is_floating_point():
        raise ValueError(f"labels must be whole numbers from 0 to {count - 1}, not {labels.dtype}")
    wrong = ((labels < 0) & (labels != IGNORED)) | (labels >= count)
    if bool(wrong.any()):
        raise ValueError(
            f"labels must be from 0 to {count - 1}, or {IGNORED} to be passed over; got {int(labels[wrong][0])}"
        )


def without_padding(labels: Tensor, mask: Tensor | None) -> Tensor:
    """Labels of tokens, those of padding passed over: a row's loss does not depend on how far its batch was padded.

    Args:
        labels: (B, T).
        mask: (B, T), True at tokens, or None where there is no padding.
    """
    if mask is None or labels.shape != mask.shape:  # what does not fit is refused by the loss, in its words
        return labels
    return labels.masked_fill(~mask, IGNORED)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labels that are not -100.

    Args:
        logits: (B, C) or (B, T, C).
        labels: (B) or (B, 1), or (B, T).

    Raises:
        ValueError: a label is out of range, or shapes do not agree.
    """
    shape = tuple(logits.shape[:-1])
    if tuple(labels.shape) not in (shape, (*shape, 1)[:2]):
        raise _misfit(labels, shape)
    check_labels(labels, logits.size(-1))
    return F.cross_entropy(logits.reshape(-1, logits.size(-1)), labels.reshape(-1).long())


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error.

    Args:
        logits: (B, C).
        labels: (B, C), or (B) where C is 1.

    Raises:
        ValueError: shapes do not agree.
    """
    shape = logits.shape if logits.size(-1) > 1 else logits.shape[:-1]
    if labels.shape not in (shape, logits.shape):
        raise _misfit(labels, tuple(shape))
    return F.mse_loss(logits.reshape(-1), labels.reshape(-1).to(logits.dtype))


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over labels of the cross-entropy of σ(logit), each label yes (1) or no (0), or a number between.

    Args:
        logits: (B, C).
        labels: (B, C).

    Raises:
        ValueError: a label is out of range, or shapes do not agree.
    """
    if labels.shape != logits.shape:
        raise _misfit(labels, tuple(logits.shape))
    wrong = (labels < 0) | (labels > 1)
    if not torch.compiler.is_compiling() and bool(wrong.any()):
        raise ValueError(f"labels must be 1 (yes), 0 (no) or between; got {labels[wrong][0].item():g}")
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def _misfit(labels: Tensor, wanted: tuple[int, ...]) -> ValueError:
    return ValueError(f"labels have shape {tuple(labels.shape)}, but must have {wanted}")
