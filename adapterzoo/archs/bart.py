"""BART (Lewis et al. 2019, arXiv:1910.13461): https://huggingface.co/docs/transformers/model_doc/bart"""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo.archs.base import Architecture, StaticHead, register
from adapterzoo.archs.bert import LINEAR
from adapterzoo.archs.config import ModelConfig
from adapterzoo.archs.encoder import divisible
from adapterzoo.archs.rows import QA_OUTPUTS, fused, linears
from adapterzoo.core.config import NetworkConfig, StackConfig
from adapterzoo.core.keymap import Row


class BartConfig(ModelConfig):
    """BART's `config.json`."""

    model_type = "bart"
    defaults: ClassVar[dict[str, Any]] = {
        "vocab_size": 50265,
        "max_position_embeddings": 1024,
        "d_model": 1024,
        **{f"{stack}_layers": 12 for stack in ("encoder", "decoder")},
        **{f"{stack}_attention_heads": 16 for stack in ("encoder", "decoder")},
        **{f"{stack}_ffn_dim": 4096 for stack in ("encoder", "decoder")},
        **{f"{stack}_layerdrop": 0.0 for stack in ("encoder", "decoder")},
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
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
        "is_encoder_decoder": True,
    }
    sizes = (
        *("vocab_size", "max_position_embeddings", "d_model"),
        *("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
        *("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"),
    )
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    }

    @classmethod
    def default_labels(cls) -> int:
        """Three: BART's classifier came from natural language inference."""
        return 3


def bart_network(config: Any) -> NetworkConfig:
    """The numbers of an encoder-decoder, or with `decoder_only` of its decoder alone."""

    def stack(name: str, **more: bool) -> StackConfig:
        divisible(config.d_model, getattr(config, f"{name}_attention_heads"))
        return StackConfig(
            layers=getattr(config, f"{name}_layers"),
            heads=getattr(config, f"{name}_attention_heads"),
            inner=getattr(config, f"{name}_ffn_dim"),
            layerdrop=getattr(config, f"{name}_layerdrop"),
            **more,
        )

    return NetworkConfig(
        width=config.d_model,
        vocab=config.vocab_size,
        encoder=stack("encoder"),
        decoder=stack("decoder", causal=True, cross=True),
        positions=config.max_position_embeddings + 2,
        position_offset=2,
        pad_id=config.pad_token_id,
        eps=1e-5,
        embed_scale=config.d_model**0.5 if config.scale_embedding else 1.0,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
        activation=config.activation_function,
        init_std=config.init_std,
    )


def attention(stack: str, block: str, module: str) -> tuple[Row, ...]:
    """One attention block as BART names it."""
    layer, mine = f"{stack}.layers.{{i}}.{module}", f"{stack}.{{i}}.{block}"
    q, k, v = (f"{layer}.{part}_proj" for part in "qkv")
    return fused((q, k, v), f"{mine}.qkv") + linears(layer, mine, {".out": ".out_proj", "_norm": "_layer_norm"})


def stack_rows(stack: str) -> tuple[Row, ...]:
    """One stack's rows."""
    return (
        Row(f"{stack}.embed_positions.weight", f"embed.{stack}.position.weight"),
        Row(f"{stack}.layernorm_embedding.{{p}}", f"embed.{stack}.norm.{{p}}"),
        *attention(stack, "attn", "self_attn"),
        *linears(
            f"{stack}.layers.{{i}}.",
            f"{stack}.{{i}}.",
            {"mlp.up": "fc1", "mlp.down": "fc2", "mlp_norm": "final_layer_norm"},
        ),
    )


EMBED_TOKENS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
TWO_LAYERS = (Row("classification_head.dense.{p}", "1.{p}"), Row("classification_head.out_proj.{p}", "4.{p}"))

BART = register(
    Architecture(
        name="Bart",
        config=BartConfig,
        prefix="model",
        network=bart_network,
        rows=(
            Row("shared.weight", "token.weight", aliases=EMBED_TOKENS),
            *stack_rows("encoder"),
            *stack_rows("decoder"),
            *attention("decoder", "cross", "encoder_attn"),
        ),
        places={
            "attn.join": "{stack}.layers.{i}.attention_adapters",
            "cross.join": "{stack}.layers.{i}.cross_attention_adapters",
            "mlp.join": "{stack}.layers.{i}.output_adapters",
            "attn.kv": "{stack}.layers.{i}.self_attn",
            "cross.kv": "{stack}.layers.{i}.encoder_attn",
        },
        unused=("encoder.version", "decoder.version"),
        heads=("classification", "multilabel_classification", "question_answering", "seq2seq_lm"),
        statics=(
            StaticHead(
                suffix="ForConditionalGeneration",
                head_type="seq2seq_lm",
                rows=(Row("lm_head.weight", "0.weight"), Row("final_logits_bias", "final_logits_bias")),
            ),
            StaticHead(
                suffix="ForSequenceClassification",
                head_type="classification",
                settings={"layers": 2, "activation_function": "tanh"},
                rows=TWO_LAYERS,
            ),
            StaticHead(
                suffix="ForQuestionAnswering",
                head_type="question_answering",
                settings=LINEAR,
                rows=QA_OUTPUTS,
            ),
            StaticHead(
                suffix="ForCausalLM",
                head_type="causal_lm",
                settings={**LINEAR, "layer_norm": False, "bias": False, "shift_labels": False},
                rows=(Row("lm_head.weight", "0.weight"),),
                decoder_only=True,
                base_rows=(
                    Row(
                        "decoder.embed_tokens.weight",
                        "token.weight",
                        aliases=("shared.weight", EMBED_TOKENS[0]),
                    ),
                ),
            ),
        ),
    )
)
