"""BERT (Devlin et al. 2018, arXiv:1810.04805): https://huggingface.co/docs/transformers/model_doc/bert"""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.config import ModelConfig
from adapterzoo.archs.encoder import ENCODER_DEFAULTS, ENCODER_SIZES, encoder_network
from adapterzoo.archs.rows import BERT_PLACES, BERT_ROWS, BERT_UNUSED, CLASSIFIER, QA_OUTPUTS
from adapterzoo.core.keymap import Row


class BertConfig(ModelConfig):
    """BERT's `config.json`."""

    model_type = "bert"
    defaults: ClassVar[dict[str, Any]] = {**ENCODER_DEFAULTS, "vocab_size": 30522, "pad_token_id": 0}
    sizes = ENCODER_SIZES


MLM_ROWS = (
    Row("cls.predictions.transform.dense.{p}", "0.{p}"),
    Row("cls.predictions.transform.LayerNorm.{p}", "2.{p}"),
    Row("cls.predictions.decoder.weight", "3.weight"),
    Row("cls.predictions.bias", "3.bias", aliases=("cls.predictions.decoder.bias",)),
)
MLM = {"layers": 2, "layer_norm": True, "bias": True}
HIDDEN_ACT = {"activation_function": "hidden_act"}
LINEAR = {"layers": 1, "activation_function": None}

BERT = register(
    Architecture(
        name="Bert",
        config=BertConfig,
        prefix="bert",
        network=encoder_network,
        rows=BERT_ROWS,
        places=BERT_PLACES,
        unused=BERT_UNUSED,
        heads=(
            "classification",
            "multilabel_classification",
            "tagging",
            "multiple_choice",
            "question_answering",
            "masked_lm",
            "causal_lm",
        ),
        statics=(
            StaticHead(
                suffix="ForSequenceClassification",
                head_type="classification",
                settings={**LINEAR, "use_pooler": True},
                rows=CLASSIFIER,
                pooler=True,
            ),
            StaticHead(
                suffix="ForMultipleChoice",
                head_type="multiple_choice",
                settings={**LINEAR, "use_pooler": True},
                rows=CLASSIFIER,
                pooler=True,
            ),
            StaticHead(suffix="ForTokenClassification", head_type="tagging", settings=LINEAR, rows=CLASSIFIER),
            StaticHead(
                suffix="ForQuestionAnswering",
                head_type="question_answering",
                settings=LINEAR,
                rows=QA_OUTPUTS,
            ),
            StaticHead(
                suffix="ForMaskedLM",
                head_type="masked_lm",
                settings=MLM,
                from_config=HIDDEN_ACT,
                rows=MLM_ROWS,
                pretraining=True,
            ),
            StaticHead(
                suffix="LMHeadModel",
                head_type="causal_lm",
                settings=MLM,
                from_config=HIDDEN_ACT,
                rows=MLM_ROWS,
            ),
            StaticHead(
                suffix="ForNextSentencePrediction",
                head_type="next_sentence",
                rows=(Row("cls.seq_relationship.{p}", "seq_relationship.{p}"),),
                pooler=True,
                pretraining=True,
            ),
            StaticHead(
                suffix="ForPreTraining",
                head_type="pretraining",
                settings=MLM,
                from_config=HIDDEN_ACT,
                rows=(*MLM_ROWS, Row("cls.seq_relationship.{p}", "seq_relationship.{p}")),
                pooler=True,
                pretraining=True,
            ),
        ),
    )
)
