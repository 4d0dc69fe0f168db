"""PLBART (Ahmad et al. 2021, arXiv:2103.06333): BART for programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from adapterzoo.archs.bart import BART
from adapterzoo.archs.base import register
from adapterzoo.archs.two_stacks import ENCODER_DECODER_DEFAULTS, STACKS, TwoStacksConfig


class PLBartConfig(TwoStacksConfig):
    """PLBART's `config.json`."""

    model_type = "plbart"
    defaults: ClassVar[dict[str, Any]] = {
        **ENCODER_DECODER_DEFAULTS,
        "vocab_size": 50005,
        "d_model": 768,
        **{f"{stack}_layers": 6 for stack in STACKS},
        **{f"{stack}_attention_heads": 12 for stack in STACKS},
        **{f"{stack}_ffn_dim": 3072 for stack in STACKS},
        "attention_dropout": 0.1,
        "scale_embedding": True,
    }
    attribute_map: ClassVar[dict[str, str]] = {**TwoStacksConfig.attribute_map, "initializer_range": "init_std"}


PLBART = register(
    replace(
        BART,
        name="PLBart",
        config=PLBartConfig,
        statics=tuple(static for static in BART.statics if static.head_type != "question_answering"),
        starts_with_last=True,
    )
)
