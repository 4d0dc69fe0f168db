"""XLM-RoBERTa (Conneau et al. 2019, arXiv:1911.02116): RoBERTa with another vocabulary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from adapterzoo.archs.base import register
from adapterzoo.archs.encoder import EncoderConfig
from adapterzoo.archs.roberta import ROBERTA, RobertaConfig


class XLMRobertaConfig(EncoderConfig):
    """XLM-RoBERTa's `config.json`."""

    model_type = "xlm-roberta"
    defaults: ClassVar[dict[str, Any]] = {**RobertaConfig.defaults, "vocab_size": 30522}


XLM_ROBERTA = register(replace(ROBERTA, name="XLMRoberta", config=XLMRobertaConfig))
