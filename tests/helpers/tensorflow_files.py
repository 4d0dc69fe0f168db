"""TensorFlow's checkpoints, written here: their index, a sorted table of protocol buffers, and their data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo.formats.tensorflow.bundle import DTYPES, MOST_CHECKED
from adapterzoo.formats.tensorflow.sstable import MAGIC
from adapterzoo.formats.tensorflow.wire import checksum
from tests.helpers.real import ROOT

SAVED = ROOT / "tests" / "conversion" / "fixtures" / "bert_ckpt"
"""What TensorFlow 2.15.1 wrote: see `make_bert_ckpt.py` beside it."""

NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


def number(count: int) -> bytes:
    """A number of variable length."""
    return bytes([count & 127 | 128]) + number(count >> 7) if count > 127 else bytes([count])


def field(which: int, content: int | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(content, int):
        return number(which << 3) + number(content)
    return number(which << 3 | 2) + number(len(content)) + content


def block(pairs: Mapping[bytes, bytes]) -> bytes:
    """A block of a sorted table, each key whole."""
    rows = (number(0) + number(len(key)) + number(len(value)) + key + value for key, value in pairs.items())
    return b"".join(rows) + bytes(4) + (1).to_bytes(4, "little")


def table(pairs: Mapping[bytes, bytes], size: int = 3, compression: int = 0) -> bytes:
    """A sorted table with `size` keys a block."""
    data, places = b"", {}

    def add(content: bytes) -> bytes:
        nonlocal data
        place = number(len(data)) + number(len(content))
        content += bytes([compression])
        data += content + checksum(content).to_bytes(4, "little")
        return place

    names = sorted(pairs)
    for start in range(0, len(names), size):
        part = names[start : start + size]
        places[part[-1]] = add(block({name: pairs[name] for name in part}))
    handles = add(block({})) + add(block(places))
    return data + handles.ljust(40, b"\0") + MAGIC.to_bytes(8, "little")


def written(folder: Path, tensors: Mapping[str, Tensor], header: bytes = b"", **more: Any) -> Path:
    """A checkpoint of these tensors, and the config of the saved one."""
    rows = {b"": field(1, 1) + header}
    folder.mkdir(exist_ok=True)
    with open(folder / "model.ckpt-7.data-00000-of-00001", "wb") as file:
        for name, tensor in tensors.items():
            numbers = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
            told = field(1, NUMBERS[tensor.dtype]) + field(2, shape) + field(4, file.tell()) + field(5, len(numbers))
            checked = checksum(numbers) if len(numbers) <= MOST_CHECKED else 0
            rows[name.encode()] = told + b"\x35" + checked.to_bytes(4, "little")
            file.write(numbers)
    (folder / "model.ckpt-7.index").write_bytes(table({**rows, **more.pop("rows", {})}, **more))
    shutil.copy(SAVED / "bert_config.json", folder)
    return folder
