"""What the processor is quick at."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")

INSTRUCTIONS = {
    torch.bfloat16: {"avx512_bf16", "amx_bf16", "bf16"},
    torch.int8: {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "asimddp"},
}
"""What Linux calls the instructions for products of a dtype, on x86 and ARM."""


def is_fast_on_cpu(dtype: torch.dtype) -> bool:
    """Whether the CPU has instructions of its own for matrix products of a dtype.

    Without, bfloat16 and int8 save memory, but take as long as float32 or longer. It is known on Linux; elsewhere the
    answer is no.

    Args:
        dtype: the dtype. Of float32 and float64 the answer is yes, of float16 no.
    """
    return dtype in (torch.float32, torch.float64) or bool(INSTRUCTIONS.get(dtype, set()) & _abilities())


@cache
def _abilities() -> frozenset[str]:
    if not CPUINFO.exists():
        return frozenset()
    with CPUINFO.open(encoding="utf-8", errors="replace") as lines:
        found = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return frozenset(found.partition(":")[2].split())
