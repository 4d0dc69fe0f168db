"""Invertible adapters (Pfeiffer et al. 2020, MAD-X, arXiv:2005.00052): bottlenecks, and a coupling on the embeddings.

The coupling maps the first stack's embeddings; its inverse stands before the matrix that scores words.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapterzoo.methods.base import PRESETS
from adapterzoo.methods.bottleneck import DoubleSeqBnConfig, SeqBnConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class SeqBnInvConfig(SeqBnConfig):
    """MAD-X's language adapters: SeqBnConfig, and NICE on the embeddings."""

    inv_adapter: str | None = "nice"
    inv_adapter_reduction_factor: float | None = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class DoubleSeqBnInvConfig(DoubleSeqBnConfig):
    """DoubleSeqBnConfig, and NICE on the embeddings."""

    inv_adapter: str | None = "nice"
    inv_adapter_reduction_factor: float | None = 2


for _name, _preset in {
    "seq_bn_inv": SeqBnInvConfig(),
    "pfeiffer+inv": SeqBnInvConfig(),
    "double_seq_bn_inv": DoubleSeqBnInvConfig(),
    "houlsby+inv": DoubleSeqBnInvConfig(),
}.items():
    PRESETS.add(_name, _preset)
