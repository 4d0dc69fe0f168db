"""LoRA (Hu et al. 2021, arXiv:2106.09685): y + (α/r)·B·A·x at any linear site, or at the token embedding."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import PRESETS, WeightOf, seeded
from adapterzoo.methods.lora_config import VARIANTS, LoRAConfig, Variant
from adapterzoo.methods.lora_files import read_plain, write_plain
from adapterzoo.methods.lora_update import Update, dtype_of
from adapterzoo.nn.each import added


class LoRAUnit(Update):
    """y + s·B·A·dropout(x); s is α/r or the gate. With "pissa" y + s·(B·A - B₀·A₀)·dropout(x), A₀ and B₀ frozen.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
        weight_of: gives the frozen weight, which "pissa" approximates.
    """

    def __init__(self, config: LoRAConfig, site: Site, weight_of: WeightOf) -> None:
        super().__init__(config, site)
        rank, dtype = config.rank(site), dtype_of(config)
        self.lora_A = nn.Parameter(torch.empty(rank, site.d_in, dtype=dtype))
        self.lora_B = nn.Parameter(torch.empty(site.d_out, rank, dtype=dtype))
        self.pissa = config.init_weights == "pissa"
        with seeded(config.init_weights_seed), torch.no_grad():
            if self.pissa:
                _init_pissa(self.lora_A, self.lora_B, weight_of(site)[0], self.scale)
                self.register_buffer("initial_A", self.lora_A.detach().clone())
                self.register_buffer("initial_B", self.lora_B.detach().clone())
            else:
                INITS[config.init_weights](self.lora_A, self.lora_B, self.lookup)

    @property
    def alike(self) -> Hashable:
        """What units agree in that can act together."""
        alone = self.gate is not None or self.lookup or self.pissa
        return None if alone else (self.scale, self.dropout, self.lora_A.shape, self.lora_A.dtype)

    def tensors(self, ctx: Ctx) -> tuple[Tensor, ...]:
        """A and B."""
        return self.lora_A, self.lora_B

    def times(self, x: Tensor, scale: float | Tensor, *stacks: Tensor) -> Tensor:
        """s·B·A·x: (…, d_in), or (…) ids, to (…, d_out)."""
        out = F.linear(self.lowered(x, self.lora_A) * scale, self.lora_B)
        if not self.pissa:
            return out
        return out - F.linear(self.lowered(x, self.get_buffer("initial_A")) * scale, self.get_buffer("initial_B"))

    def onto(self, y: Tensor, x: Tensor, scale: float | Tensor, own: bool, *stacks: Tensor) -> Tensor:
        """y + s·B·A·x, of several in one pass over y."""
        if self.pissa:
            return super().onto(y, x, scale, own)
        a, b = stacks or (self.lora_A, self.lora_B)
        return added(y, self.lowered(x, a) * scale, b, own)

    def matrix(self) -> Tensor:
        """B·A, (d_out, d_in)."""
        product = self.lora_B @ self.lora_A
        return product - self.get_buffer("initial_B") @ self.get_buffer("initial_A") if self.pissa else product


def _init_lora(a: Tensor, b: Tensor, lookup: bool) -> None:
    """B·A is zero: of what is looked up A is, whose columns would otherwise be tiny."""
    if lookup:
        nn.init.zeros_(a)
        nn.init.normal_(b)
    else:
        nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        nn.init.zeros_(b)


def _init_bert(a: Tensor, b: Tensor, lookup: bool) -> None:
    nn.init.normal_(a, std=0.02)
    nn.init.normal_(b, std=0.02)


def _init_ia3(a: Tensor, b: Tensor, lookup: bool) -> None:
    nn.init.ones_(a)
    nn.init.ones_(b)


def _init_vera(a: Tensor, b: Tensor, lookup: bool) -> None:
    nn.init.kaiming_uniform_(a)
    nn.init.kaiming_uniform_(b)


def _init_orthogonal(a: Tensor, b: Tensor, lookup: bool) -> None:
    """A = QₒᵀX₁/10 and B = X₂Qₑ/10 with the odd and even rows of one orthogonal Q, so that B·A = 0."""
    rank = len(a)
    if a.is_meta:  # the values come from elsewhere
        return
    q = torch.linalg.qr(torch.randn(rank, rank, device=a.device))[0]
    a.copy_(q[0::2].T @ torch.randn(rank // 2, a.size(1), device=a.device) / 10)
    b.copy_(torch.randn(b.size(0), rank // 2, device=b.device) @ q[1::2] / 10)


INITS: Mapping[str, Callable[[Tensor, Tensor, bool], None]] = {
    "lora": _init_lora,
    "bert": _init_bert,
    "ia3": _init_ia3,
    "vera": _init_vera,
    "orthogonal": _init_orthogonal,
}
"""What fills A and B, but for "pissa", which looks at the weight."""


def _init_pissa(a: Tensor, b: Tensor, weight: Tensor, scale: float) -> None:
    """s·B·A is the weight's best approximation of rank r (Meng et al. 2024, arXiv:2404.02948).

    Raises:
        ValueError: the rank is larger than the weight's can be.
    """
    rank, most = len(a), min(weight.shape)
    if rank > most:
        raise ValueError(f"init_weights='pissa' needs a rank of at most {most} here, not {rank}")
    if a.is_meta:  # the values come from elsewhere
        return
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if not bool(wide.isfinite().all()):  # a weight without values, and nothing follows from it
        for half in (a, b):
            half.fill_(torch.nan)
        return
    u, s, vh = torch.linalg.svd(wide, full_matrices=False)
    root = (s[:rank] / scale).sqrt()
    a.copy_(root[:, None] * vh[:rank])
    b.copy_(u[:, :rank] * root)


def problems(config: LoRAConfig) -> Iterator[str]:
    """What does not go with "orthogonal" and "pissa"."""
    odd = [rank for rank in (config.r, *(config.rank_pattern or {}).values()) if rank % 2]
    if config.init_weights == "orthogonal" and odd:
        yield f"init_weights='orthogonal' needs an even r, not {odd[0]}"
    if config.init_weights == "pissa" and config.alpha <= 0:
        yield f"init_weights='pissa' needs an alpha above 0, not {config.alpha}"


def _unit(config: LoRAConfig, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
    return LoRAUnit(config, site, weight_of)


VARIANTS.add("add", Variant(_unit, problems=problems, kinds=("linear", "lookup"), write=write_plain, read=read_plain))
PRESETS.add("lora", LoRAConfig())
