"""What BART and its relatives share: the fields of their configs, how these become numbers, their tensors' names."""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import DecoderAlone
from adapterzoo.archs.config import ModelConfig
from adapterzoo.archs.rows import fused, linears
from adapterzoo.core.config import NetworkConfig, StackConfig
from adapterzoo.core.fields import CHANCE, NATURAL
from adapterzoo.core.keymap import Row
from adapterzoo.nn.activations import ACTIVATION

STACKS = ("encoder", "decoder")

ENCODER_DECODER_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "d_model": 1024,
    **{f"{stack}_layers": 12 for stack in STACKS},
    **{f"{stack}_attention_heads": 16 for stack in STACKS},
    **{f"{stack}_ffn_dim": 4096 for stack in STACKS},
    **{f"{stack}_layerdrop": 0.0 for stack in STACKS},
    "activation_function": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "classifier_dropout": 0.0,
    "init_std": 0.02,
    "scale_embedding": False,
    "use_cache": True,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "forced_eos_token_id": 2,
    "is_encoder_decoder": True,
}

ENCODER_DECODER_SIZES = (
    *("vocab_size", "max_position_embeddings", "d_model"),
    *(f"{stack}_{size}" for stack in STACKS for size in ("layers", "attention_heads", "ffn_dim")),
)

ENCODER_DECODER_RULES = {
    **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "classifier_dropout"), CHANCE),
    **{f"{stack}_layerdrop": CHANCE for stack in STACKS},
    "init_std": NATURAL,
    "activation_function": ACTIVATION,
}

ENCODER_DECODER_HEADS = (
    "classification",
    "multilabel_classification",
    "question_answering",
    "similarity",
    "seq2seq_lm",
)

DECODER_HEADS = tuple({"seq2seq_lm": "causal_lm"}.get(kind, kind) for kind in ENCODER_DECODER_HEADS)

ENCODER_DECODER_SHARED = tuple(("d_model", f"{stack}_attention_heads") for stack in STACKS)

ENCODER_DECODER_NAMES = {
    "hidden_size": "d_model",
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}


class TwoStacksConfig(ModelConfig):
    """The `config.json` of BART and its relatives. A subclass gives `model_type` and `defaults`."""

    sizes = ENCODER_DECODER_SIZES
    rules: ClassVar[dict[str, Any]] = ENCODER_DECODER_RULES
    shared_among = ENCODER_DECODER_SHARED
    attribute_map: ClassVar[dict[str, str]] = ENCODER_DECODER_NAMES


def encoder_decoder_network(config: Any, **more: Any) -> NetworkConfig:
    """The numbers of an encoder-decoder, and `more` that each stack of a relative has."""

    def stack(name: str, **own: Any) -> StackConfig:
        return StackConfig(
            layers=getattr(config, f"{name}_layers"),
            width=config.d_model,
            heads=getattr(config, f"{name}_attention_heads"),
            inner=getattr(config, f"{name}_ffn_dim"),
            vocab=config.vocab_size,
            layerdrop=getattr(config, f"{name}_layerdrop"),
            positions=config.max_position_embeddings + 2,
            position_offset=2,
            pad_id=config.pad_token_id,
            embed_scale=config.d_model**0.5 if config.scale_embedding else 1.0,
            eps=1e-5,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            activation=config.activation_function,
            **own,
            **more,
        )

    return NetworkConfig(
        encoder=stack("encoder"),
        decoder=stack("decoder", causal=True, cross=True),
        init_std=config.init_std,
    )


def attention(stack: str, block: str, module: str, norm: str) -> tuple[Row, ...]:
    """One attention block as BART names it; `norm` is what we call its LayerNorm."""
    layer, mine = f"{stack}.layers.{{i}}.{module}", f"{stack}.{{i}}.{block}"
    q, k, v = (f"{layer}.{part}_proj" for part in "qkv")
    return fused((q, k, v), f"{mine}.qkv") + linears(layer, mine, {".out": ".out_proj", f"_{norm}": "_layer_norm"})


def stack_rows(stack: str, norm: str) -> tuple[Row, ...]:
    """One stack's rows."""
    return (
        Row(f"{stack}.embed_positions.weight", f"embed.{stack}.position.weight"),
        Row(f"{stack}.layernorm_embedding.{{p}}", f"embed.{stack}.norm.{{p}}"),
        *attention(stack, "attn", "self_attn", norm),
        *linears(
            f"{stack}.layers.{{i}}.",
            f"{stack}.{{i}}.",
            {"mlp.up": "fc1", "mlp.down": "fc2", f"mlp_{norm}": "final_layer_norm"},
        ),
    )


EMBED_TOKENS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def bart_rows(norm: str = "norm") -> tuple[Row, ...]:
    """All rows; `norm` is "prenorm" where each block's LayerNorm comes before it."""
    return (
        Row("shared.weight", "token.weight", aliases=EMBED_TOKENS),
        *stack_rows("encoder", norm),
        *stack_rows("decoder", norm),
        *attention("decoder", "cross", "encoder_attn", norm),
    )


DECODER_ALONE = DecoderAlone(
    heads=DECODER_HEADS,
    rows=(Row("decoder.embed_tokens.weight", "token.weight", aliases=("shared.weight", EMBED_TOKENS[0])),),
)

BART_PLACES = {
    "attn.join": "{stack}.layers.{i}.attention_adapters",
    "cross.join": "{stack}.layers.{i}.cross_attention_adapters",
    "mlp.join": "{stack}.layers.{i}.output_adapters",
    "attn.kv": "{stack}.layers.{i}.self_attn",
    "cross.kv": "{stack}.layers.{i}.encoder_attn",
    "embed": "{stack}",
    "token": "{stack}.embed_tokens",
}
