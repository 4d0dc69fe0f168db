"""ELECTRA (Clark et al. 2020, arXiv:2003.10555): BERT with embeddings of a width of their own, and no pooler."""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.encoder import ENCODER_DEFAULTS, ENCODER_HEADS, ENCODER_SIZES, EncoderConfig, encoder_stack
from adapterzoo.archs.rows import BERT_PLACES, BERT_ROWS, BERT_UNUSED, CLASSIFIER, LINEAR, QA, QA_OUTPUTS, linears
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, one_of
from adapterzoo.core.keymap import Row
from adapterzoo.nn.activations import ACTIVATION


class ElectraConfig(EncoderConfig):
    """ELECTRA's `config.json`."""

    model_type = "electra"
    defaults: ClassVar[dict[str, Any]] = {
        **ENCODER_DEFAULTS,
        "vocab_size": 30522,
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "summary_type": "first",
        "summary_use_proj": True,
        "summary_activation": "gelu",
        "summary_last_dropout": 0.1,
        "pad_token_id": 0,
    }
    sizes: ClassVar[tuple[str, ...]] = (*ENCODER_SIZES, "embedding_size")
    rules: ClassVar[dict[str, Any]] = {
        **EncoderConfig.rules,
        "summary_type": one_of("first"),
        "summary_use_proj": one_of(True),
        "summary_activation": ACTIVATION,
        "summary_last_dropout": CHANCE,
    }


def electra_network(config: Any) -> NetworkConfig:
    """BERT's numbers, and the embeddings' width."""
    stack = encoder_stack(config, embed_width=config.embedding_size)
    return NetworkConfig(encoder=stack, init_std=config.initializer_range)


CLASSIFICATION_ROWS = (Row("classifier.dense.{p}", "1.{p}"), Row("classifier.out_proj.{p}", "4.{p}"))
CLASSIFICATION = {"layers": 2, "activation_function": "gelu"}
CHOICE_ROWS = (Row("sequence_summary.summary.{p}", "1.{p}"), Row("classifier.{p}", "4.{p}"))
CHOICE = {"layers": 2, "input_dropout": 0.0}
SUMMARY = {"activation_function": "summary_activation", "dropout_prob": "summary_last_dropout"}
LM_ROWS = (
    Row("generator_predictions.dense.{p}", "0.{p}"),
    Row("generator_predictions.LayerNorm.{p}", "2.{p}"),
    Row("generator_lm_head.{p}", "3.{p}"),
)
LM = {"layers": 2, "activation_function": "gelu", "layer_norm": True, "bias": True}
EMBEDDING_SIZE = {"embedding_size": "embedding_size"}
DETECTION_ROWS = linears("discriminator_predictions.", "", {"0": "dense", "2": "dense_prediction"})

ELECTRA = register(
    Architecture(
        name="Electra",
        config=ElectraConfig,
        prefix="electra",
        network=electra_network,
        rows=(
            *(row for row in BERT_ROWS if "pooler" not in row.parts[0]),
            Row("embeddings_project.{p}", "embed.encoder.project.{p}"),
        ),
        places=BERT_PLACES,
        unused=BERT_UNUSED,
        heads=ENCODER_HEADS,
        statics=(
            StaticHead("ForSequenceClassification", "classification", CLASSIFICATION, CLASSIFICATION_ROWS),
            StaticHead("ForMultipleChoice", "multiple_choice", CHOICE, CHOICE_ROWS, from_config=SUMMARY),
            StaticHead("ForTokenClassification", "tagging", LINEAR, CLASSIFIER),
            StaticHead("ForQuestionAnswering", "question_answering", QA, QA_OUTPUTS),
            StaticHead("ForMaskedLM", "masked_lm", LM, LM_ROWS, from_config=EMBEDDING_SIZE, pretraining=True),
            StaticHead("ForCausalLM", "causal_lm", LM, LM_ROWS, from_config=EMBEDDING_SIZE),
            StaticHead(
                "ForPreTraining",
                "token_detection",
                {},
                DETECTION_ROWS,
                from_config={"activation_function": "hidden_act"},
                pretraining=True,
            ),
        ),
    )
)
