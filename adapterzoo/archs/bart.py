"""BART (Lewis et al. 2019, arXiv:1910.13461): https://huggingface.co/docs/transformers/model_doc/bart"""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.rows import LINEAR, QA, QA_OUTPUTS, TWO_LAYERS
from adapterzoo.archs.two_stacks import (
    BART_PLACES,
    DECODER_ALONE,
    ENCODER_DECODER_DEFAULTS,
    ENCODER_DECODER_HEADS,
    TwoStacksConfig,
    bart_rows,
    encoder_decoder_network,
)
from adapterzoo.core.keymap import Row


class BartConfig(TwoStacksConfig):
    """BART's `config.json`."""

    model_type = "bart"
    defaults: ClassVar[dict[str, Any]] = {**ENCODER_DECODER_DEFAULTS, "decoder_start_token_id": 2}

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
        rows=bart_rows(),
        places=BART_PLACES,
        unused=("encoder.version", "decoder.version"),
        heads=ENCODER_DECODER_HEADS,
        statics=(
            StaticHead(
                "ForConditionalGeneration", "seq2seq_lm", {}, (*LM_ROWS, Row("final_logits_bias", "final_logits_bias"))
            ),
            StaticHead("ForSequenceClassification", "classification", TWO_LAYERS, CLASSIFICATION_ROWS),
            StaticHead("ForQuestionAnswering", "question_answering", QA, QA_OUTPUTS),
            StaticHead("ForCausalLM", "causal_lm", CAUSAL, LM_ROWS, decoder_only=True),
        ),
        alone=DECODER_ALONE,
    )
)
