"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT with half the layers, no token types and no pooler."""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.config import ModelConfig
from adapterzoo.archs.encoder import ENCODER_HEADS, NO_DECODER, encoder_stack
from adapterzoo.archs.rows import BERT_UNUSED, CLASSIFIER, LINEAR, QA_OUTPUTS, fused, linears
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.fields import CHANCE, NATURAL
from adapterzoo.core.keymap import Row
from adapterzoo.nn.activations import ACTIVATION

DROPOUTS = {"dropout": 0.1, "attention_dropout": 0.1, "qa_dropout": 0.1, "seq_classif_dropout": 0.2}


class DistilBertConfig(ModelConfig):
    """DistilBERT's `config.json`."""

    model_type = "distilbert"
    defaults: ClassVar[dict[str, Any]] = {
        **{"vocab_size": 30522, "max_position_embeddings": 512, "sinusoidal_pos_embds": False},
        **{"n_layers": 6, "n_heads": 12, "dim": 768, "hidden_dim": 3072},
        "activation": "gelu",
        "initializer_range": 0.02,
        "pad_token_id": 0,
        **DROPOUTS,
    }
    sizes = ("vocab_size", "max_position_embeddings", "n_layers", "n_heads", "dim", "hidden_dim")
    rules: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(DROPOUTS, CHANCE),
        "initializer_range": NATURAL,
        "activation": ACTIVATION,
        **NO_DECODER,
    }
    shared_among = (("dim", "n_heads"),)
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    }


def distilbert_network(config: Any) -> NetworkConfig:
    """BERT's numbers. The position embedding, sinusoidal at first or not, is learned like any other."""
    return NetworkConfig(encoder=encoder_stack(config), init_std=config.initializer_range)


LAYER, OURS = "transformer.layer.{i}.", "encoder.{i}."
ROWS = (
    Row("embeddings.word_embeddings.weight", "token.weight"),
    Row("embeddings.position_embeddings.weight", "embed.encoder.position.weight"),
    Row("embeddings.LayerNorm.{p}", "embed.encoder.norm.{p}"),
    *fused((f"{LAYER}attention.q_lin", f"{LAYER}attention.k_lin", f"{LAYER}attention.v_lin"), f"{OURS}attn.qkv"),
    *linears(LAYER, OURS, {"attn.out": "attention.out_lin", "mlp.up": "ffn.lin1", "mlp.down": "ffn.lin2"}),
    *linears(LAYER, OURS, {"attn_norm": "sa_layer_norm", "mlp_norm": "output_layer_norm"}),
)
PLACES = {
    "attn.join": "transformer.layer.{i}.attention_adapters",
    "mlp.join": "transformer.layer.{i}.output_adapters",
    "attn.kv": "transformer.layer.{i}.attention",
}
GROUPS = {"self_prefix": "{shared}.self"}
TWO_ROWS = (Row("pre_classifier.{p}", "1.{p}"), Row("classifier.{p}", "4.{p}"))
TWO = {"layers": 2, "activation_function": "relu", "input_dropout": 0.0}
LM_ROWS = (
    Row("vocab_transform.{p}", "0.{p}"),
    Row("vocab_layer_norm.{p}", "2.{p}"),
    Row("vocab_projector.{p}", "3.{p}"),
)
LM, CALLED = {"layers": 2, "layer_norm": True, "bias": True}, {"activation_function": "activation"}
CLASSIFIED, ANSWERED = {"dropout_prob": "seq_classif_dropout"}, {"dropout_prob": "qa_dropout"}

DISTILBERT = register(
    Architecture(
        name="DistilBert",
        config=DistilBertConfig,
        prefix="distilbert",
        network=distilbert_network,
        rows=ROWS,
        places=PLACES,
        groups=GROUPS,
        unused=BERT_UNUSED,
        heads=tuple(kind for kind in ENCODER_HEADS if kind != "causal_lm"),
        statics=(
            StaticHead("ForSequenceClassification", "classification", TWO, TWO_ROWS, from_config=CLASSIFIED),
            StaticHead("ForMultipleChoice", "multiple_choice", TWO, TWO_ROWS, from_config=CLASSIFIED),
            StaticHead("ForTokenClassification", "tagging", LINEAR, CLASSIFIER),
            StaticHead("ForQuestionAnswering", "question_answering", LINEAR, QA_OUTPUTS, from_config=ANSWERED),
            StaticHead("ForMaskedLM", "masked_lm", LM, LM_ROWS, from_config=CALLED, pretraining=True),
        ),
    )
)
