"""Compacter (Karimi Mahabadi et al. 2021, arXiv:2106.04647): bottlenecks of Kronecker products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapterzoo.methods.base import PRESETS
from adapterzoo.methods.bottleneck import DoubleSeqBnConfig, SeqBnConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class CompacterConfig(DoubleSeqBnConfig):
    """Compacter: after attention and feed-forward, W = Σᵢ kron(ruleᵢ, leftᵢ·rightᵢ), with one rule for all layers."""

    phm_layer: bool = True
    reduction_factor: float | Mapping[str, float] = 32
    non_linearity: str = "gelu"


@dataclass(frozen=True, kw_only=True, eq=False)
class CompacterPlusPlusConfig(SeqBnConfig):
    """Compacter++: the same after the feed-forward block alone."""

    phm_layer: bool = True
    reduction_factor: float | Mapping[str, float] = 32
    non_linearity: str = "gelu"


PRESETS.add("compacter", CompacterConfig())
PRESETS.add("compacter++", CompacterPlusPlusConfig())
