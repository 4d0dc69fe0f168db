"""Rows brought into another order for the network, and back for the user."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.outputs import MultiHeadOutput


def in_order(value: Any, order: list[int]) -> Any:
    """A tensor with one row for each of the batch's, in another order; anything else as it is."""
    if not isinstance(value, Tensor) or value.dim() == 0 or value.size(0) != len(order):
        return value
    return value.index_select(0, torch.tensor(order, device=value.device))


def tiled(value: Any, rows: int, times: int) -> Any:
    """A tensor with one row for each of the batch's, so many times; anything else as it is."""
    if times == 1 or not isinstance(value, Tensor) or value.dim() == 0 or value.size(0) != rows:
        return value
    return torch.cat([value] * times)


def restore(output: Any, order: list[int], choices: int = 1) -> Any:
    """An output with its rows in the caller's order.

    Args:
        output: a model's output, whose row i is the caller's row order[i].
        order: the order in which rows were run.
        choices: rows of each question, where inputs were questions.
    """
    if isinstance(output, MultiHeadOutput):
        return output  # it says itself which rows are whose
    inverse = torch.tensor(order).argsort()
    spread = (inverse[:, None] * choices + torch.arange(choices)).flatten()

    def back(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(back, value))
        if not isinstance(value, Tensor) or value.dim() == 0:
            return value
        index = inverse if value.size(0) == len(order) else spread
        return value.index_select(0, index.to(value.device))

    if is_dataclass(output) and not isinstance(output, type):
        return replace(output, **{f.name: back(getattr(output, f.name)) for f in fields(output)})
    return back(output) if isinstance(output, tuple) else output
