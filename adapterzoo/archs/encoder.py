"""What BERT and its relatives share: the fields of their configs, and how these become numbers."""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.config import NetworkConfig, StackConfig
from adapterzoo.core.fields import CHANCE, NATURAL, SIZE, one_of
from adapterzoo.nn.activations import ACTIVATION

ENCODER_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "use_cache": True,
    "classifier_dropout": None,
}

ENCODER_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)

ENCODER_RULES = {
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"), CHANCE),
    **dict.fromkeys(("initializer_range", "layer_norm_eps"), NATURAL),
    "type_vocab_size": NATURAL._replace(most=SIZE.most),
    "hidden_act": ACTIVATION,
    "position_embedding_type": one_of("absolute"),
}

NO_DECODER = dict.fromkeys(("is_decoder", "add_cross_attention"), one_of(False))
"""Rules of architectures that are encoders only."""

ENCODER_SHARED = (("hidden_size", "num_attention_heads"),)

ENCODER_HEADS = (
    *("classification", "multilabel_classification", "multiple_choice", "tagging", "question_answering"),
    *("dependency_parsing", "similarity", "masked_lm", "causal_lm"),
)


class EncoderConfig(ModelConfig):
    """The `config.json` of BERT and its relatives. A subclass gives `model_type` and `defaults`."""

    sizes: ClassVar[tuple[str, ...]] = ENCODER_SIZES
    rules: ClassVar[dict[str, Any]] = ENCODER_RULES
    shared_among: ClassVar[tuple[tuple[str, str], ...]] = ENCODER_SHARED


def encoder_network(config: Any) -> NetworkConfig:
    """The numbers of a lone stack: an encoder, or with `is_decoder` a decoder."""
    return NetworkConfig(encoder=encoder_stack(config), pooler=True, init_std=config.initializer_range)


def encoder_stack(config: Any, **more: Any) -> StackConfig:
    """The numbers of one stack of BERT's kind, and `more` that a relative has."""
    return StackConfig(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        inner=config.intermediate_size,
        vocab=config.vocab_size,
        causal=config.is_decoder,
        cross=config.is_decoder and config.add_cross_attention,
        positions=config.max_position_embeddings,
        segments=getattr(config, "type_vocab_size", 0),
        pad_id=config.pad_token_id,
        eps=getattr(config, "layer_norm_eps", 1e-12),
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        activation=config.hidden_act,
        **more,
    )
