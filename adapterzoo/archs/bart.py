"""BART (Lewis et al. 2019, arXiv:1910.13461): https://huggingface.co/docs/transformers/model_doc/bart"""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.config import ModelConfig
from adapterzoo.archs.encoder_decoder import (
    BART_PLACES,
    BART_ROWS,
    DECODER_TOKENS,
    ENCODER_DECODER_DEFAULTS,
    ENCODER_DECODER_NAMES,
    ENCODER_DECODER_RULES,
    ENCODER_DECODER_SHARED,
    ENCODER_DECODER_SIZES,
    encoder_decoder_network,
)
from adapterzoo.archs.rows import LINEAR, QA_OUTPUTS, TWO_LAYERS
from adapterzoo.core.keymap import Row


class BartConfig(ModelConfig):
    """BART's `config.json`."""

    model_type = "bart"
    defaults: ClassVar[dict[str, Any]] = {**ENCODER_DECODER_DEFAULTS, "decoder_start_token_id": 2}
    sizes = ENCODER_DECODER_SIZES
    rules = ENCODER_DECODER_RULES
    shared_among = ENCODER_DECODER_SHARED
    attribute_map: ClassVar[dict[str, str]] = ENCODER_DECODER_NAMES

    @classmethod
    def default_labels(cls) -> int:
        """Three: BART's classifier came from natural language inference."""
        return 3


LM_ROWS = (Row("lm_head.weight", "0.weight"),)
CLASSIFICATION_ROWS = (Row("classification_head.dense.{p}", "1.{p}"), Row("classification_head.out_proj.{p}", "4.{p}"))
CAUSAL = {**LINEAR, "layer_norm": False, "bias": False, "shift_labels": False}

BART = register(
    Architecture(
        name="Bart",
        config=BartConfig,
        prefix="model",
        network=encoder_decoder_network,
        rows=BART_ROWS,
        places=BART_PLACES,
        unused=("encoder.version", "decoder.version"),
        heads=("classification", "multilabel_classification", "question_answering", "seq2seq_lm"),
        statics=(
            StaticHead(
                "ForConditionalGeneration", "seq2seq_lm", {}, (*LM_ROWS, Row("final_logits_bias", "final_logits_bias"))
            ),
            StaticHead("ForSequenceClassification", "classification", TWO_LAYERS, CLASSIFICATION_ROWS),
            StaticHead("ForQuestionAnswering", "question_answering", LINEAR, QA_OUTPUTS),
            StaticHead("ForCausalLM", "causal_lm", CAUSAL, LM_ROWS, decoder_only=True, base_rows=DECODER_TOKENS),
        ),
    )
)
