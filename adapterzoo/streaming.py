"""Safetensors files written tensor by tensor: what is larger than the memory can be written, if it can be read so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""What the format calls dtypes."""


def write(path: str, tensors: Mapping[str, Tensor], step: Callable[[str], object] = lambda name: None) -> None:
    """Write the file: the header's length, the header in JSON, the tensors' bytes, those of wider numbers first.

    Args:
        path: where to.
        tensors: the tensors by name. Each is looked at twice, and may be made anew at each look.
        step: is told the name of each before it is written.

    Raises:
        ValueError: a dtype has no name in this format.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    entries = {name: _entry(name, tensors[name]) for name in tensors}
    order = sorted(entries, key=lambda name: (-entries[name][2], name))
    end = 0
    for name in order:
        dtype, shape, width, count = entries[name]
        begin, end = end, end + width * count
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at places that are multiples of eight
    with Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            step(name)
            plain = tensors[name].detach().cpu().contiguous()
            file.write(plain.flatten().view(torch.uint8).numpy().data)


def _entry(name: str, tensor: Tensor) -> tuple[str, list[int], int, int]:
    """What the header says of a tensor: dtype, shape, bytes of a number, numbers."""
    if tensor.dtype not in DTYPES or tensor.layout is not torch.strided:
        raise ValueError(f"{name} is {tensor.dtype}, {tensor.layout}: safetensors files have no such tensors")
    return DTYPES[tensor.dtype], list(tensor.shape), tensor.itemsize, tensor.numel()
