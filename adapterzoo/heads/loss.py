"""Losses, with labels checked first: PyTorch's own words for a label out of range do not say which."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100


def check_labels(labels: Tensor, count: int) -> None:
    """Check that labels are below `count`, or -100, which losses pass over.

    Raises:
        ValueError: one is not.
    """
    wrong = ((labels < 0) & (labels != IGNORED)) | (labels >= count)
    if not torch.compiler.is_compiling() and bool(wrong.any()):
        raise ValueError(
            f"labels must be from 0 to {count - 1}, or {IGNORED} to be passed over; got {int(labels[wrong][0])}"
        )


def without_padding(labels: Tensor, mask: Tensor | None) -> Tensor:
    """Labels of tokens, those of padding passed over: a row's loss does not depend on how far its batch was padded.

    Args:
        labels: (B, T).
        mask: (B, T), True at tokens, or None where there is no padding.
    """
    if mask is None or labels.numel() != mask.numel():  # what does not fit is refused by the loss, in its words
        return labels
    return labels.reshape(mask.shape).masked_fill(~mask, IGNORED)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labels that are not -100.

    Args:
        logits: (…, C).
        labels: (…), or (…, 1).

    Raises:
        ValueError: a label is out of range, or shapes do not agree.
    """
    if labels.numel() * logits.size(-1) != logits.numel():
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}")
    flat = labels.reshape(-1).long()
    check_labels(flat, logits.size(-1))
    return F.cross_entropy(logits.reshape(-1, logits.size(-1)), flat)


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error.

    Args:
        logits: (B, C).
        labels: as many numbers.

    Raises:
        ValueError: shapes do not agree.
    """
    if labels.numel() != logits.numel():
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}")
    return F.mse_loss(logits.reshape(-1), labels.reshape(-1).to(logits.dtype))


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over labels of the cross-entropy of σ(logit), each label yes (1) or no (0).

    Args:
        logits: (B, C).
        labels: (B, C).

    Raises:
        ValueError: shapes do not agree.
    """
    if labels.shape != logits.shape:
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}")
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
