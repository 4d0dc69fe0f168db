"""Safetensors files written piece by piece: what is larger than the memory can be written, if it can be read so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.complex64: "C64",
}
"""What the format calls dtypes."""

PIECE = 1 << 22
"""Bytes of a tensor up to which it is looked at as a whole; of a larger one, so many at a time."""


class ByRows(Mapping[str, Tensor]):
    """Tensors that come to be, or are mapped, when they are looked at; and some rows of one without the others.

    As it stands, it is for tensors of which a look costs nothing as long as nobody reads the numbers.
    """

    def like(self, name: str) -> Tensor:
        """One of a tensor's shape and dtype, whose numbers count for nothing."""
        return self[name]

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of a tensor with one dimension or more."""
        return self[name][start:stop]


def like(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """One of a tensor's shape and dtype, whose numbers count for nothing."""
    return tensors.like(name) if isinstance(tensors, ByRows) else tensors[name]


def rows(tensors: Mapping[str, Tensor], name: str, start: int, stop: int) -> Tensor:
    """Some rows of a tensor with one dimension or more."""
    return tensors.rows(name, start, stop) if isinstance(tensors, ByRows) else tensors[name][start:stop]


def pieces(tensors: Mapping[str, Tensor], name: str) -> Iterator[Tensor]:
    """A tensor, or if it is large, its rows from first to last, some at a time, each time looked at anew."""
    whole = like(tensors, name)
    count, size = whole.shape[0] if whole.dim() else 0, whole.nbytes
    if size <= PIECE:
        yield tensors[name]
        return
    some = max(1, PIECE * count // size)
    for start in range(0, count, some):
        yield rows(tensors, name, start, start + some)


def write(
    path: str,
    tensors: Mapping[str, Tensor],
    step: Callable[[str], object] = lambda name: None,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the file: the header's length, the header in JSON, the tensors' bytes, those of wider numbers first.

    Args:
        path: where to.
        tensors: the tensors by name, which may be made anew at each look. See ByRows for large ones.
        step: is told the name of each before it is written.
        notes: texts that the header has beside the tensors, by name.

    Raises:
        ValueError: a dtype has no name in this format.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted({**notes, "format": "pt"}.items()))}
    entries = {name: _entry(name, like(tensors, name)) for name in tensors}
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
            for piece in pieces(tensors, name):
                plain = piece.detach().cpu().resolve_conj().resolve_neg().contiguous()
                file.write(plain.flatten().view(torch.uint8).numpy().data)


def _entry(name: str, tensor: Tensor) -> tuple[str, list[int], int, int]:
    """What the header says of a tensor: dtype, shape, bytes of a number, numbers."""
    if tensor.dtype not in DTYPES or tensor.layout is not torch.strided:
        raise ValueError(f"{name} is {tensor.dtype}, {tensor.layout}: safetensors files have no such tensors")
    return DTYPES[tensor.dtype], list(tensor.shape), tensor.itemsize, tensor.numel()
