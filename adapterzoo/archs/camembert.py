"""CamemBERT (Martin et al. 2019, arXiv:1911.03894): RoBERTa in French."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from adapterzoo.archs.base import register
from adapterzoo.archs.encoder import EncoderConfig
from adapterzoo.archs.roberta import ROBERTA, RobertaConfig


class CamembertConfig(EncoderConfig):
    """CamemBERT's `config.json`."""

    model_type = "camembert"
    defaults: ClassVar[dict[str, Any]] = {**RobertaConfig.defaults, "vocab_size": 30522}


CAMEMBERT = register(replace(ROBERTA, name="Camembert", config=CamembertConfig))
