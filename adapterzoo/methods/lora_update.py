"""What LoRA's variants have in common: an update of y that is linear in x, times a number or a gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import seeded
from adapterzoo.methods.lora_config import LoRAConfig
from adapterzoo.nn.dropout import dropped
from adapterzoo.nn.each import linear

Pair = tuple[Tensor, Tensor]


def dtype_of(config: LoRAConfig) -> torch.dtype | None:
    """The dtype that a config names, if it names one."""
    return None if config.dtype is None else getattr(torch, config.dtype)


class Gate(nn.Linear):
    """A row's mean of σ(W_g·x + b_g), (B, 1).

    Args:
        config: the numbers.
        site: the place.
    """

    def __init__(self, config: LoRAConfig, site: Site) -> None:
        super().__init__(site.d_in, 1, dtype=dtype_of(config))
        with seeded(config.init_weights_seed):
            nn.init.normal_(self.weight, std=0.02)
            nn.init.zeros_(self.bias)

    def at_tokens(self, ctx: Ctx) -> Tensor:
        """The gate of each token's row, (…, 1)."""
        assert ctx.x is not None
        rows = ctx.layout.mean(torch.sigmoid(self(ctx.x.to(self.weight.dtype))))
        ctx.note("gate", rows)
        return ctx.layout.spread(rows)


class Update(nn.Module):
    """y + s·Δ·dropout(x), Δ (d_out, d_in) of low rank; s is α/r or the gate.

    A subclass says what Δ is: as a matrix, and times x.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
    """

    any_dtype = True

    def __init__(self, config: LoRAConfig, site: Site) -> None:
        super().__init__()
        self.scale, self.dropout, self.lookup = config.scale(site), config.dropout, site.kind == "lookup"
        self.gate = Gate(config, site) if config.use_gating else None

    @property
    def reads_row(self) -> bool:
        """Whether a token's value depends on the row's other tokens: a gate is their mean."""
        return self.gate is not None

    def matrix(self) -> Tensor:
        """Δ, (d_out, d_in)."""
        raise TypeError(f"{type(self).__name__} does not say what its update is")

    def times(self, x: Tensor, scale: float | Tensor, *stacks: Tensor) -> Tensor:
        """s·Δ·x: (…, d_in), or (…) ids, to (…, d_out). For `stacks` see AdapterConfig.unit."""
        raise TypeError(f"{type(self).__name__} does not say what its update is")

    def lowered(self, x: Tensor, matrix: Tensor) -> Tensor:
        """A·x: (…, d_in) to (…, r); of ids, the columns that they number."""
        return F.embedding(x, matrix.T) if self.lookup else linear(x.to(matrix.dtype), matrix)

    def dropped(self, x: Tensor) -> Tensor:
        """x with dropout; ids have none."""
        return x if self.lookup else dropped(x, self.dropout, self.training)

    def forward(self, y: Tensor, ctx: Ctx, *stacks: Tensor) -> Tensor:
        """(…, d_out) to (…, d_out). With `stacks`, the weights of several: see AdapterConfig.unit."""
        assert ctx.x is not None
        scale = self.scale if self.gate is None else self.gate.at_tokens(ctx)
        return self.onto(y, self.dropped(ctx.x), scale, ctx.own, *stacks)

    def onto(self, y: Tensor, x: Tensor, scale: float | Tensor, own: bool, *stacks: Tensor) -> Tensor:
        """y + s·Δ·x; `own` tells whether y may be written to."""
        return y + self.times(x, scale, *stacks).to(y.dtype)

    def delta(self) -> Tensor:
        """s·Δ, (d_out, d_in).

        Raises:
            ValueError: there is a gate.
        """
        refuse_gate(self.gate)
        return self.scale * self.matrix()

    def merged(self, weight: Tensor, bias: Tensor, frozen: Pair) -> Pair:
        """W + s·Δ, and b as it was.

        Args:
            weight: W (d_out, d_in), as it is now.
            bias: b (d_out), as it is now.
            frozen: what both were before anything was merged.

        Raises:
            ValueError: there is a gate.
        """
        return weight + self.delta().to(weight.dtype), bias


def refuse_gate(gate: Gate | None) -> None:
    """Refuse to make one matrix of an update that a gate scales.

    Raises:
        ValueError: there is a gate.
    """
    if gate is not None:
        raise ValueError("an adapter with a gate (use_gating) cannot be merged: what it does depends on the input")
