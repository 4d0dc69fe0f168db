"""RoBERTa (Liu et al. 2019, arXiv:1907.11692): https://huggingface.co/docs/transformers/model_doc/roberta"""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.encoder import ENCODER_DEFAULTS, ENCODER_HEADS, EncoderConfig, encoder_stack
from adapterzoo.archs.rows import (
    BERT_PLACES,
    BERT_ROWS,
    BERT_UNUSED,
    CLASSIFIER,
    LINEAR,
    POOLED,
    QA,
    QA_OUTPUTS,
    TWO_LAYERS,
)
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.keymap import Row


class RobertaConfig(EncoderConfig):
    """RoBERTa's `config.json`."""

    model_type = "roberta"
    defaults: ClassVar[dict[str, Any]] = {
        **ENCODER_DEFAULTS,
        "vocab_size": 50265,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def roberta_network(config: Any) -> NetworkConfig:
    """BERT's numbers, but positions count only tokens that are not padding."""
    return NetworkConfig(
        encoder=encoder_stack(config, padding_position=config.pad_token_id),
        pooler=True,
        init_std=config.initializer_range,
    )


LM_ROWS = (
    Row("lm_head.dense.{p}", "0.{p}"),
    Row("lm_head.layer_norm.{p}", "2.{p}"),
    Row("lm_head.decoder.weight", "3.weight"),
    Row("lm_head.bias", "3.bias", aliases=("lm_head.decoder.bias",)),
)
LM = {"layers": 2, "activation_function": "gelu", "layer_norm": True, "bias": True}
CLASSIFICATION_ROWS = (Row("classifier.dense.{p}", "1.{p}"), Row("classifier.out_proj.{p}", "4.{p}"))

ROBERTA = register(
    Architecture(
        name="Roberta",
        config=RobertaConfig,
        prefix="roberta",
        network=roberta_network,
        rows=BERT_ROWS,
        places=BERT_PLACES,
        unused=BERT_UNUSED,
        heads=ENCODER_HEADS,
        statics=(
            StaticHead("ForSequenceClassification", "classification", TWO_LAYERS, CLASSIFICATION_ROWS),
            StaticHead("ForMultipleChoice", "multiple_choice", POOLED, CLASSIFIER, pooler=True),
            StaticHead("ForTokenClassification", "tagging", LINEAR, CLASSIFIER),
            StaticHead("ForQuestionAnswering", "question_answering", QA, QA_OUTPUTS),
            StaticHead("ForMaskedLM", "masked_lm", LM, LM_ROWS, pretraining=True),
            StaticHead("ForCausalLM", "causal_lm", LM, LM_ROWS),
        ),
    )
)
