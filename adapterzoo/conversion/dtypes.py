"""The dtypes in which what a file holds goes from one format to the other without being rounded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from adapterzoo.streaming import like


def kept_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The dtype that holds all of a file's numbers."""
    return reduce(torch.promote_types, {like(tensors, name).dtype for name in tensors})


def exact_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The dtype of a model that takes each of a file's numbers as it is."""
    double = torch.float64
    return double if any(like(tensors, name).dtype is double for name in tensors) else torch.float32
