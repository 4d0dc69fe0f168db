"""Modules without values, for those whose values come from elsewhere; and how they get them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLING: frozenset[Any] = frozenset(
    [Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_, Tensor.copy_]
    + [getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
)
"""What gives a tensor values, in place, and returns it."""


class _Unfilled(TorchFunctionMode):
    """Tensors are not filled: on the meta device, PyTorch would look up a kernel in Python that does nothing.

    The first such look-up in a process imports torch._dynamo, which takes a second.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in FILLING:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@contextmanager
def blank() -> Iterator[None]:
    """Tensors made within lie on the meta device: they have a shape and a dtype, and to fill them costs nothing."""
    with torch.device("meta"), _Unfilled():
        yield


def computed(shape: Sequence[int], compute: Callable[[], Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """What `compute` gives; within `blank` nothing is computed.

    Args:
        shape: of what it gives.
        compute: gives it.
        dtype: of what it gives; PyTorch's own if None.
    """
    made = torch.empty(*shape, dtype=dtype)
    return made if made.is_meta else compute()


def give(module: nn.Module, values: Mapping[str, Tensor], device: torch.device) -> None:
    """Let a module that was made within `blank` have tensors for its own: no copies where these are fit for it.

    What has values already, for it was made otherwise, gets copies, so that what it shares stays shared.

    Args:
        module: the module.
        values: the tensors by name, each of the right shape. What it is not given it lacks.
        device: where they shall lie; their dtypes become the module's.
    """
    own = module.state_dict(keep_vars=True)
    new = {name: value for name, value in values.items() if own[name].is_meta}
    taken = {name: _alone(value.detach().to(device, own[name].dtype)) for name, value in new.items()}
    module.load_state_dict(taken, strict=False, assign=True)
    if len(new) < len(values):
        module.load_state_dict({name: value for name, value in values.items() if name not in new}, strict=False)


def _alone(tensor: Tensor) -> Tensor:
    """The tensor, with memory that it shares with no other."""
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if alone else tensor.clone(memory_format=torch.contiguous_format)
