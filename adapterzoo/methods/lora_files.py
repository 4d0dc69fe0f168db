"""How tensors of LoRA's variants lie in AdapterHub's files. All go by the names there.

Shapes: r rank, d_in and d_out of the site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from adapterzoo.methods.lora_config import LoRAConfig, Tensors

_VECTORS = ("vera_D", "vera_B")


def write_plain(config: LoRAConfig, tensors: Tensors) -> dict[str, Tensor]:
    """The product that a unit of PiSSA began with, and subtracts, as further rows of A and columns of B.

    s·(B·A - B₀·A₀) = s·[B, -B₀]·[A; A₀]: to others it is LoRA of twice the rank.
    """
    out = dict(tensors)
    for stem in _stems(tensors, "initial_A"):
        first, second = out.pop(f"{stem}initial_A"), out.pop(f"{stem}initial_B")
        out[f"{stem}lora_A"] = torch.cat([out[f"{stem}lora_A"], first])
        out[f"{stem}lora_B"] = torch.cat([out[f"{stem}lora_B"], -second], 1)
    return out


def read_plain(config: LoRAConfig, tensors: Tensors) -> dict[str, Tensor]:
    """The inverse of `write_plain`; VeRA's full matrices are multiplied out."""
    out = _multiplied(tensors)
    if config.init_weights != "pissa":
        return out
    for stem in _stems(tensors, "lora_A"):
        a, b = out[f"{stem}lora_A"], out.get(f"{stem}lora_B")
        if b is not None and len(a) == b.size(-1) and len(a) % 2 == 0:
            out[f"{stem}lora_A"], out[f"{stem}initial_A"] = a.chunk(2)
            out[f"{stem}lora_B"], out[f"{stem}initial_B"] = b[:, : len(a) // 2], -b[:, len(a) // 2 :]
    return out


def _multiplied(tensors: Tensors) -> dict[str, Tensor]:
    """VeRA's D·A as A and B_vera·B as B, for each site: the same product."""
    out, stems = dict(tensors), list(_stems(tensors, "vera_B"))
    shared = next((stem for stem in _stems(tensors, "lora_A") if "shared_parameters." in stem), None)
    if not stems or shared is None:
        return out
    a, b = out.pop(f"{shared}lora_A"), out.pop(f"{shared}lora_B")
    for stem in stems:
        left, right = out.pop(f"{stem}vera_B"), out.pop(f"{stem}vera_D")
        out[f"{stem}lora_A"], out[f"{stem}lora_B"] = right @ a, left @ b[: len(left)]
    return out


def write_vera(config: LoRAConfig, tensors: Tensors) -> dict[str, Tensor]:
    """Vectors as diagonal matrices."""
    return _vectors(tensors, lambda vector: vector.diag() if vector.dim() == 1 else vector)


def read_vera(config: LoRAConfig, tensors: Tensors) -> dict[str, Tensor]:
    """Diagonal matrices as vectors."""
    return _vectors(tensors, lambda matrix: matrix.diagonal().clone() if _is_square(matrix) else matrix)


def _vectors(tensors: Tensors, turned: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {key: turned(tensor) if key.rpartition(".")[2] in _VECTORS else tensor for key, tensor in tensors.items()}


def _stems(tensors: Tensors, name: str) -> Iterator[str]:
    """What stands before a parameter's name, the dot included, wherever there is such a parameter."""
    return (key.removesuffix(name) for key in list(tensors) if key.rpartition(".")[2] == name)


def _is_square(tensor: Tensor) -> bool:
    return tensor.dim() == 2 and tensor.size(0) == tensor.size(1)
