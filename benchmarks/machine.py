"""What a benchmark ran on, and the time that its matrix products alone take."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def device() -> torch.device:
    """CUDA if there is any, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def described() -> dict[str, Any]:
    """The machine, for the report."""
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    flags = next((set(line.split(":")[1].split()) for line in _cpuinfo() if line.startswith("flags")), set())
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile") if flag in flags]
    card = {"card": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "cpu": cpu,
        "abilities": wide,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **card,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text("utf-8").splitlines() if path.exists() else []


class Gemms:
    """The bare matrix products that real tokens need in an encoder's layers, by `F.linear`, with nothing between them.

    Args:
        network: our network, for its weights.
        counts: real tokens of each batch.
        stack: whose layers.
    """

    def __init__(self, network: nn.Module, counts: Sequence[int], stack: str = "encoder") -> None:
        like = next(network.parameters())
        layers = list(getattr(network, stack))
        self.linears = [
            (part.weight, part.bias) for layer in layers for part in (layer.attn.qkv, layer.attn.out, *_mlp(layer))
        ]
        widths = sorted({weight.size(1) for weight, _ in self.linears})
        self.batches = [
            {width: torch.randn(count, width, device=like.device, dtype=like.dtype) for width in widths}
            for count in counts
        ]

    def __call__(self) -> None:
        """All products of all batches, once."""
        for batch in self.batches:
            for weight, bias in self.linears:
                F.linear(batch[weight.size(1)], weight, bias)


def _mlp(layer: Any) -> tuple[nn.Module, nn.Module]:
    return layer.mlp.up, layer.mlp.down


def largest_difference(ours: Tensor, theirs: Tensor, mask: Tensor | None = None) -> float:
    """The largest difference of two tensors; of those positions (B, T) where a mask is 1, if there is one."""
    difference = (ours.detach().float() - theirs.detach().float()).abs()
    return float((difference if mask is None else difference[mask.bool()]).max())
