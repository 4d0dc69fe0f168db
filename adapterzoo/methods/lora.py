"""LoRA (Hu et al. 2021, arXiv:2106.09685): y + (α/r)·B·A·x at any linear site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, POSITIVE, Rule, each, one_of
from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf, seeded


@METHODS.register("lora")
@dataclass(frozen=True, kw_only=True, eq=False)
class LoRAConfig(AdapterConfig):
    """LoRA: y = Wx + b + (α/r)·B·A·dropout(x), with A (r, d_in) and B (d_out, r).

    Args:
        selfattn_lora: at the attention projections named in `attn_matrices`, cross-attention included.
        intermediate_lora: at the first matrix of the feed-forward block.
        output_lora: at the second matrix of the feed-forward block.
        leave_out: layers without.
        r: rank.
        alpha: α; the update is scaled by α/r.
        dropout: on x, in training.
        attn_matrices: of "q", "k", "v".
        init_weights: "lora" (A Kaiming-uniform, B zero: nothing changes at first) or "bert" (both normal, 0.02).
        init_weights_seed: one seed for every unit.
        use_gating: scale by a learned gate, the row's mean of σ(W_g·x), in place of α/r.
        dtype: dtype of the units, such as "float32"; the base's if None.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "lora"
    hub_infix: ClassVar[str] = "loras"
    hub_constants: ClassVar[Mapping[str, Any]] = {
        "composition_mode": "add",
        "use_dora": False,
        "vera_d": None,
        "vera_b": None,
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        "r": POSITIVE,
        "dropout": CHANCE,
        "attn_matrices": each(one_of("q", "k", "v")),
        "init_weights": one_of("lora", "bert"),
        "dtype": one_of(None, "float16", "bfloat16", "float32", "float64"),
    }

    selfattn_lora: bool = True
    intermediate_lora: bool = False
    output_lora: bool = False
    leave_out: tuple[int, ...] = ()
    r: int = 8
    alpha: float = 8
    dropout: float = 0.0
    attn_matrices: tuple[str, ...] = ("q", "v")
    init_weights: str = "lora"
    init_weights_seed: int | None = None
    use_gating: bool = False
    dtype: str | None = None

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The linear sites that the three switches choose."""
        if site.kind != "linear" or site.layer in self.leave_out:
            return False
        block, part = site.name.split(".")
        if block == "mlp":
            return self.intermediate_lora if part == "up" else self.output_lora
        return self.selfattn_lora and part in self.attn_matrices

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """A and B for one projection."""
        return LoRAUnit(self, site)


class LoRAUnit(nn.Module):
    """y + s·B·A·dropout(x); s is α/r or the gate.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
    """

    def __init__(self, config: LoRAConfig, site: Site) -> None:
        super().__init__()
        dtype = None if config.dtype is None else getattr(torch, config.dtype)
        self.scale, self.dropout = config.alpha / config.r, config.dropout
        self.lora_A = nn.Parameter(torch.empty(config.r, site.d_in, dtype=dtype))
        self.lora_B = nn.Parameter(torch.empty(site.d_out, config.r, dtype=dtype))
        self.gate = nn.Linear(site.d_in, 1, dtype=dtype) if config.use_gating else None
        with seeded(config.init_weights_seed), torch.no_grad():
            self._init(config.init_weights)

    def _init(self, how: str) -> None:
        if how == "lora":
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
            nn.init.zeros_(self.lora_B)
        else:
            nn.init.normal_(self.lora_A, std=0.02)
            nn.init.normal_(self.lora_B, std=0.02)
        if self.gate is not None:
            nn.init.normal_(self.gate.weight, std=0.02)
            nn.init.zeros_(self.gate.bias)

    @property
    def reads_row(self) -> bool:
        """Whether a token's value depends on the row's other tokens: a gate is their mean."""
        return self.gate is not None

    def forward(self, y: Tensor, ctx: Ctx) -> Tensor:
        """(…, d_out) to (…, d_out)."""
        assert ctx.x is not None
        x = F.dropout(ctx.x, self.dropout, self.training).to(self.lora_A.dtype)
        low = F.linear(x, self.lora_A)
        if self.gate is None:
            low = low * self.scale
        else:
            low = low * ctx.layout.spread(ctx.layout.mean(torch.sigmoid(self.gate(x))))
        return y + F.linear(low, self.lora_B).to(y.dtype)


PRESETS.add("lora", LoRAConfig())
