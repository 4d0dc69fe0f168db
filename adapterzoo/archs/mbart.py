"""mBART (Liu et al. 2020, arXiv:2001.08210): BART with the LayerNorms before its blocks, in many languages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from adapterzoo.archs.bart import BART
from adapterzoo.archs.base import register
from adapterzoo.archs.rows import linears
from adapterzoo.archs.two_stacks import (
    ENCODER_DECODER_DEFAULTS,
    STACKS,
    TwoStacksConfig,
    bart_rows,
    encoder_decoder_network,
)
from adapterzoo.core.config import NetworkConfig


class MBartConfig(TwoStacksConfig):
    """mBART's `config.json`."""

    model_type = "mbart"
    defaults: ClassVar[dict[str, Any]] = ENCODER_DECODER_DEFAULTS


def mbart_network(config: Any) -> NetworkConfig:
    """BART's numbers, and LayerNorms before the blocks."""
    return encoder_decoder_network(config, pre_norm=True)


MBART = register(
    replace(
        BART,
        name="MBart",
        config=MBartConfig,
        network=mbart_network,
        rows=(
            *bart_rows("prenorm"),
            *linears("", "", {f"last_norm.{stack}": f"{stack}.layer_norm" for stack in STACKS}),
        ),
        starts_with_last=True,
    )
)
