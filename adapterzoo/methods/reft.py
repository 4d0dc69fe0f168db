"""ReFT (Wu et al. 2024, arXiv:2404.03592): a layer's output is edited at a few positions, in a small subspace.

Shapes: D width, r rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, NATURAL, SIZE, Rule, one_of
from adapterzoo.core.keymap import Row
from adapterzoo.core.run import Ctx
from adapterzoo.core.sites import Site
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, WeightOf, seeded
from adapterzoo.methods.orthogonal import OrthogonalProjection
from adapterzoo.nn.activations import ACTIVATION, activation
from adapterzoo.nn.dropout import dropped

_LAYERS = Rule(
    '"all", or layers\' numbers, 0 or more',
    lambda value: value == "all" if isinstance(value, str) else all(layer >= 0 for layer in value),
)


@METHODS.register("reft")
@dataclass(frozen=True, kw_only=True, eq=False)
class ReftConfig(AdapterConfig):
    """ReFT: h + Rᵀ(f(W·h + b) - R·h) after layers, at each row's first and last tokens, padding not counted.

    Args:
        layers: "all", or the numbers of layers; a decoder's go on from the encoder's.
        prefix_positions: how many of a row's first tokens are edited.
        suffix_positions: how many of its last; where both meet, what was made for the last stands.
        r: rank, rows of R and W.
        orthogonality: whether the rows of R are orthonormal, always.
        tied_weights: whether first and last tokens share one edit.
        subtract_projection: whether R·h is subtracted. The peer's files cannot say so; ours do.
        dropout: on the edited h, in training.
        non_linearity: f, an activation; None for none.
        dtype: dtype of the units, such as "float32"; the base's if None.
        output_reft: at layers' outputs: there are no others.
        leave_out: layers without, whatever `layers` says.
        init_weights_seed: one seed for every edit.

    Raises:
        ValueError: a value is outside of what it may be.
    """

    architecture: ClassVar[str | None] = "reft"
    hub_infix: ClassVar[str] = "reft_layer.refts"
    own_fields: ClassVar[tuple[str, ...]] = ("subtract_projection", "leave_out")
    rules: ClassVar[Mapping[str, Rule]] = {
        "layers": _LAYERS,
        "prefix_positions": NATURAL,
        "suffix_positions": NATURAL,
        "r": SIZE,
        "dropout": CHANCE,
        "non_linearity": ACTIVATION,
        "dtype": one_of(None, "float16", "bfloat16", "float32", "float64"),
    }

    layers: str | tuple[int, ...]
    prefix_positions: int
    suffix_positions: int
    r: int
    orthogonality: bool
    tied_weights: bool = False
    subtract_projection: bool = True
    dropout: float = 0.05
    non_linearity: str | None = None
    dtype: str | None = None
    output_reft: bool = True
    leave_out: tuple[int, ...] = ()
    init_weights_seed: int | None = None

    def covers(self, site: Site, network: NetworkConfig) -> bool:
        """The outputs of the layers that were chosen."""
        if site.name != "layer.out" or not self.output_reft or site.layer in self.leave_out:
            return False
        return self.layers == "all" or site.layer in self.layers

    def hub_keys(self) -> list[Row]:
        """They have PyTorch's names of a parametrised weight."""
        stem = "units.{i}.projection"
        return [
            Row(f"{stem}.parametrizations.weight.original", f"{stem}.original"),
            Row(f"{stem}.parametrizations.weight.0.base", f"{stem}.base"),
        ]

    def unit(self, site: Site, shared: Mapping[str, nn.Module], weight_of: WeightOf) -> nn.Module:
        """The edits after one layer."""
        return ReftUnit(self, site)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoReftConfig(ReftConfig):
    """LoReFT: R has orthonormal rows."""

    layers: str | tuple[int, ...] = "all"
    prefix_positions: int = 3
    suffix_positions: int = 0
    r: int = 1
    orthogonality: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class NoReftConfig(LoReftConfig):
    """NoReFT: LoReFT with any R."""

    orthogonality: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class DiReftConfig(LoReftConfig):
    """DiReFT: h + Rᵀ(W·h + b), with any R."""

    orthogonality: bool = False
    subtract_projection: bool = False


class ReftUnit(nn.Module):
    """The edits after one layer: one for first and one for last tokens, or one for both.

    Args:
        config: the numbers.
        site: the place, for the width.
    """

    any_dtype = True
    reads_row = True  # which tokens are a row's first and last depends on all of it

    def __init__(self, config: ReftConfig, site: Site) -> None:
        super().__init__()
        self.first, self.last = config.prefix_positions, config.suffix_positions
        self.units = nn.ModuleList(Edit(config, site) for _ in range(1 if config.tied_weights else 2))

    def forward(self, h: Tensor, ctx: Ctx) -> Tensor:
        """(…, D) to (…, D)."""
        first = _within(ctx.layout.place(h.device), self.first)
        last = _within(ctx.layout.place_from_end(h.device), self.last)
        if len(self.units) == 1:
            return torch.where(first | last, self.units[0](h), h)
        return torch.where(last, self.units[1](h), torch.where(first, self.units[0](h), h))


def _within(place: Tensor, count: int) -> Tensor:
    """Whether places, negative ones at padding, are among the first `count`."""
    return (place >= 0) & (place < count)


class Edit(nn.Module):
    """dropout(h + Rᵀ(f(W·h + b) - R·h)), without the last term if the config says so.

    Args:
        config: the numbers.
        site: the place, for the width.
    """

    def __init__(self, config: ReftConfig, site: Site) -> None:
        super().__init__()
        self.config, self.function = config, activation(config.non_linearity)
        with seeded(config.init_weights_seed):
            self.learned_source = nn.Linear(site.d_out, config.r)
            projection = nn.Linear(site.d_out, config.r, bias=False)
            self.projection = OrthogonalProjection(projection.weight) if config.orthogonality else projection

    def forward(self, h: Tensor) -> Tensor:
        """(…, D) to (…, D)."""
        z = h.to(self.learned_source.weight.dtype)
        source, rows = self.function(self.learned_source(z)), self.projection.weight
        if self.config.subtract_projection:
            source = source - F.linear(z, rows)
        edited = z + source @ rows
        return dropped(edited, self.config.dropout, self.training).to(h.dtype)


PRESETS.add("loreft", LoReftConfig())
PRESETS.add("noreft", NoReftConfig())
PRESETS.add("direft", DiReftConfig())
