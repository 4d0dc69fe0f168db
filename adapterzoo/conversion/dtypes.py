"""The dtypes in which what a file holds goes from one format to the other without being rounded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from adapterzoo.streaming import like

WEIGHTS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
"""The dtypes of what a model or an adapter computes with."""


def kept_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The dtype that holds all of a file's weights; what else it may have, such as positions, is none."""
    return reduce(torch.promote_types, {like(tensors, name).dtype for name in tensors} & WEIGHTS)


def exact_dtype(*files: Mapping[str, Tensor]) -> torch.dtype:
    """The dtype of a model that takes each number of some files as it is."""
    double = torch.float64
    return double if any(like(one, name).dtype is double for one in files for name in one) else torch.float32
