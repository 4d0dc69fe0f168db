"""Tensors that are made when they are looked at, so that no more of them lie in memory than are in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from adapterzoo import streaming


class Lazy(streaming.ByRows):
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


class Some(streaming.ByRows):
    """Those tensors that have some names, or all, in another dtype.

    Args:
        tensors: the tensors.
        names: their names.
        dtype: dtype of numbers with a fraction; their own if None. Each is cast anew at every look.
    """

    def __init__(self, tensors: Mapping[str, Tensor], names: Iterable[str], dtype: torch.dtype | None = None) -> None:
        self.tensors, self.names, self.dtype = tensors, dict.fromkeys(names), dtype

    def __getitem__(self, name: str) -> Tensor:
        return cast_one(self.tensors[self._own(name)], self.dtype)

    def like(self, name: str) -> Tensor:
        """One of a tensor's shape and dtype, whose numbers count for nothing."""
        own = streaming.like(self.tensors, self._own(name))
        return own if self.dtype is None else cast_one(torch.empty_like(own, device="meta"), self.dtype)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of a tensor; no others are cast."""
        return cast_one(streaming.rows(self.tensors, self._own(name), start, stop), self.dtype)

    def _own(self, name: str) -> str:
        if name not in self.names:
            raise KeyError(name)
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def some(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Some:
    """Those of some names."""
    return Some(tensors, names)


def cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Mapping[str, Tensor]:
    """Tensors in another dtype; what has no fraction stays, and so does all if the dtype is None."""
    return tensors if dtype is None else Some(tensors, tensors, dtype)


def cast_one(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor in another dtype; as it is if the dtype is None or it has no fraction."""
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
