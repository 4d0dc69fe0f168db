"""BERT (Devlin et al. 2018, arXiv:1810.04805): https://huggingface.co/docs/transformers/model_doc/bert"""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.encoder import ENCODER_DEFAULTS, ENCODER_HEADS, EncoderConfig, encoder_network
from adapterzoo.archs.rows import BERT_PLACES, BERT_ROWS, BERT_UNUSED, CLASSIFIER, LINEAR, POOLED, QA, QA_OUTPUTS
from adapterzoo.core.keymap import Row


class BertConfig(EncoderConfig):
    """BERT's `config.json`."""

    model_type = "bert"
    defaults: ClassVar[dict[str, Any]] = {**ENCODER_DEFAULTS, "vocab_size": 30522, "pad_token_id": 0}


MLM_ROWS = (
    Row("cls.predictions.transform.dense.{p}", "0.{p}"),
    Row("cls.predictions.transform.LayerNorm.{p}", "2.{p}"),
    Row("cls.predictions.decoder.weight", "3.weight"),
    Row("cls.predictions.bias", "3.bias", aliases=("cls.predictions.decoder.bias",)),
)
NSP_ROWS = (Row("cls.seq_relationship.{p}", "seq_relationship.{p}"),)
MLM = {"layers": 2, "layer_norm": True, "bias": True}
HIDDEN_ACT = {"activation_function": "hidden_act"}
BERT = register(
    Architecture(
        name="Bert",
        config=BertConfig,
        prefix="bert",
        network=encoder_network,
        rows=BERT_ROWS,
        places=BERT_PLACES,
        unused=BERT_UNUSED,
        heads=ENCODER_HEADS,
        statics=(
            StaticHead("ForSequenceClassification", "classification", POOLED, CLASSIFIER, pooler=True),
            StaticHead("ForMultipleChoice", "multiple_choice", POOLED, CLASSIFIER, pooler=True),
            StaticHead("ForTokenClassification", "tagging", LINEAR, CLASSIFIER),
            StaticHead("ForQuestionAnswering", "question_answering", QA, QA_OUTPUTS),
            StaticHead("ForMaskedLM", "masked_lm", MLM, MLM_ROWS, from_config=HIDDEN_ACT, pretraining=True),
            StaticHead("LMHeadModel", "causal_lm", MLM, MLM_ROWS, from_config=HIDDEN_ACT),
            StaticHead("ForNextSentencePrediction", "next_sentence", {}, NSP_ROWS, pooler=True, pretraining=True),
            StaticHead(
                "ForPreTraining",
                "pretraining",
                MLM,
                (*MLM_ROWS, *NSP_ROWS),
                from_config=HIDDEN_ACT,
                pooler=True,
                pretraining=True,
            ),
        ),
    )
)
