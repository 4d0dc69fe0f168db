"""Tensors that are made when they are looked at, so that no more of them lie in memory than are in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor


class Lazy(Mapping[str, Tensor]):
    """Tensors by name, each made anew at every look.

    Args:
        makers: what makes each.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self.makers = makers

    def __getitem__(self, name: str) -> Tensor:
        return self.makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


def some(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Lazy:
    """Those of some names."""
    return Lazy({name: partial(tensors.__getitem__, name) for name in names})


def cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Mapping[str, Tensor]:
    """Tensors in another dtype; what has no fraction stays, and so does all if the dtype is None."""
    return tensors if dtype is None else Lazy({name: partial(_cast, tensors, name, dtype) for name in tensors})


def _cast(tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
    return cast_one(tensors[name], dtype)


def cast_one(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor in another dtype; as it is if the dtype is None or it has no fraction."""
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
