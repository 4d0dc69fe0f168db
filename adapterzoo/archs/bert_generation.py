"""BertGeneration (Rothe et al. 2019, arXiv:1907.12461): BERT without token types and pooler, for encoder-decoders."""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.encoder import ENCODER_DEFAULTS, ENCODER_HEADS, EncoderConfig, encoder_stack
from adapterzoo.archs.rows import BERT_PLACES, BERT_ROWS, BERT_UNUSED
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.keymap import Row

WITHOUT = ("type_vocab_size", "classifier_dropout")


class BertGenerationConfig(EncoderConfig):
    """BertGeneration's `config.json`."""

    model_type = "bert-generation"
    defaults: ClassVar[dict[str, Any]] = {
        **{name: value for name, value in ENCODER_DEFAULTS.items() if name not in WITHOUT},
        "vocab_size": 50358,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 1,
    }
    rules: ClassVar[dict[str, Any]] = {name: rule for name, rule in EncoderConfig.rules.items() if name not in WITHOUT}


def bert_generation_network(config: Any) -> NetworkConfig:
    """BERT's numbers, without a pooler."""
    return NetworkConfig(encoder=encoder_stack(config), init_std=config.initializer_range)


LM_ROWS = (
    Row("lm_head.decoder.weight", "0.weight"),
    Row("lm_head.bias", "0.bias", aliases=("lm_head.decoder.bias",)),
)
LM = {"layers": 1, "bias": True}

BERT_GENERATION = register(
    Architecture(
        name="BertGeneration",
        base="Encoder",
        config=BertGenerationConfig,
        prefix="bert",
        network=bert_generation_network,
        rows=tuple(row for row in BERT_ROWS if "token_type" not in row.parts[0] and "pooler" not in row.parts[0]),
        places=BERT_PLACES,
        unused=BERT_UNUSED,
        heads=ENCODER_HEADS,
        statics=(StaticHead("Decoder", "causal_lm", LM, LM_ROWS),),
    )
)
