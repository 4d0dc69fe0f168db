"""MTL-LoRA (Yang et al. 2024, arXiv:2410.09437): LoRA for several tasks, with a matrix of the task's own inside."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adapterzoo.core.fields import POSITIVE, SIZE, Rule, one_of
from adapterzoo.core.keymap import Row
from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf, seeded
from adapterzoo.methods.lora import INITS
from adapterzoo.methods.lora_config import LoRAConfig, Variant
from adapterzoo.methods.lora_update import Update, dtype_of
from adapterzoo.nn.each import across, linear


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiTaskConfig(AdapterConfig):
    """What configs of methods for several tasks have in common: that they are such."""


@METHODS.register("mtl_lora")
@dataclass(frozen=True, kw_only=True, eq=False)
class MTLLoRAConfig(LoRAConfig, MultiTaskConfig):
    """MTL-LoRA: y = Wx + b + (α/r)·Σᵢ softmax(w/τ)ᵢ·Bᵢ·Λᵀ·A·dropout(x), with A (r, d_in), Bᵢ (d_out, r), Λ (r, r).

    See LoRAConfig for the other arguments.

    Args:
        n_up_projection: how many Bᵢ there are.
        task_specific_matrix_type: "singular_values" (Λ is diagonal) or "linear" (it is full); the identity at first.
        weights_sharpness: τ; the smaller, the more the largest w decides.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "mtl_lora"
    rules: ClassVar[Mapping[str, Rule]] = {
        **LoRAConfig.rules,
        "n_up_projection": SIZE,
        "task_specific_matrix_type": one_of("singular_values", "linear"),
        "weights_sharpness": POSITIVE,
    }

    n_up_projection: int = 1
    task_specific_matrix_type: str = "singular_values"
    weights_sharpness: float = 0.05

    @property
    def variant(self) -> Variant:
        """The one variant that there is."""
        return _ONLY

    def problems(self) -> Iterator[str]:
        """What is wrong with values that are right by themselves, but not together."""
        for name in ("composition_mode", "use_dora", "vera_d", "vera_b"):
            if (value := getattr(self, name)) != (usual := self._defaults()[name]):
                yield f"{name} must be {usual!r}, not {value!r}"
        if self.init_weights not in INITS or self.init_weights == "orthogonal":
            yield f"init_weights={self.init_weights!r} is for one B alone"

    def hub_keys(self) -> list[Row]:
        """Λ is a module there."""
        return [Row("task_specific.values", "task_specific")]


class MTLLoRAUnit(Update):
    """y + s·Σᵢ softmax(w/τ)ᵢ·Bᵢ·Λᵀ·A·dropout(x); s is α/r or the gate.

    Args:
        config: the numbers.
        site: the place, for d_in and d_out.
    """

    def __init__(self, config: MTLLoRAConfig, site: Site) -> None:
        super().__init__(config, site)
        rank, dtype, self.sharpness = config.rank(site), dtype_of(config), config.weights_sharpness
        self.lora_A = nn.Parameter(torch.empty(rank, site.d_in, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(config.n_up_projection, site.d_out, rank, dtype=dtype))
        values = torch.ones(rank, dtype=dtype)
        diagonal = config.task_specific_matrix_type == "singular_values"
        self.task_specific = nn.Parameter(values if diagonal else values.diag())
        self.weights = nn.Parameter(torch.ones(config.n_up_projection, dtype=dtype))
        with seeded(config.init_weights_seed), torch.no_grad():
            for b in self.lora_B:
                INITS[config.init_weights](self.lora_A, b, False)

    def up(self) -> Tensor:
        """Σᵢ softmax(w/τ)ᵢ·Bᵢ, (d_out, r)."""
        return torch.einsum("n,nor->or", torch.softmax(self.weights / self.sharpness, 0), self.lora_B)

    @property
    def alike(self) -> Hashable:
        """What units agree in that can act together."""
        form = (self.lora_A.shape, self.task_specific.shape, self.lora_A.dtype)
        return None if self.gate is not None else (self.scale, self.dropout, *form)

    def tensors(self, ctx: Ctx) -> tuple[Tensor, ...]:
        """A, Λ and the sum of the Bᵢ."""
        return self.lora_A, self.task_specific, self.up()

    def times(self, x: Tensor, scale: float | Tensor, *stacks: Tensor) -> Tensor:
        """s·Σᵢ softmax(w/τ)ᵢ·Bᵢ·Λᵀ·A·x: (…, d_in) to (…, d_out)."""
        a, inner, up = stacks or (self.lora_A, self.task_specific, self.up())
        low = self.lowered(x, a)
        low = low * across(inner) if self.task_specific.dim() == 1 else low @ inner
        return linear(low * scale, up)

    def matrix(self) -> Tensor:
        """Σᵢ softmax(w/τ)ᵢ·Bᵢ·Λᵀ·A, (d_out, d_in)."""
        inner = self.task_specific.diag() if self.task_specific.dim() == 1 else self.task_specific
        return self.up() @ inner.T @ self.lora_A


def _unit(config: Any, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
    return MTLLoRAUnit(config, site)


_ONLY = Variant(_unit)
PRESETS.add("mtl_lora", MTLLoRAConfig())
