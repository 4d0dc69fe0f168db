"""fairseq's RoBERTa and BART as tables: their tensors against HF's names, their sizes against our configs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from adapterzoo.archs.bart import BartConfig
from adapterzoo.archs.config import ModelConfig
from adapterzoo.archs.roberta import RobertaConfig
from adapterzoo.core.keymap import KeyMap, Row
from adapterzoo.formats.fairseq.args import Args
from adapterzoo.store import FileError

Tensors = Mapping[str, Tensor]

SPECIALS: dict[str, Any] = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
HEADS = "classification_heads"
STACKS = ("encoder", "decoder")
_SENTENCE = "encoder.sentence_encoder"


def _layer(theirs: str, ours: str, names: Mapping[str, str]) -> tuple[Row, ...]:
    """Rows of one layer's modules: `names` holds fairseq's name against HF's."""
    return tuple(Row(f"{theirs}.{{i}}.{their}.{{p}}", f"{ours}.{{i}}.{our}.{{p}}") for their, our in names.items())


def _bart_stack(stack: str, *attentions: str) -> tuple[Row, ...]:
    """Rows of one of BART's stacks, in which HF has fairseq's names."""
    inner = [f"{block}.{part}_proj" for block in attentions for part in ("q", "k", "v", "out")]
    names = (*inner, *(f"{block}_layer_norm" for block in attentions), "fc1", "fc2", "final_layer_norm")
    return (
        Row(f"{stack}.embed_positions.weight", f"model.{stack}.embed_positions.weight"),
        Row(f"{stack}.layernorm_embedding.{{p}}", f"model.{stack}.layernorm_embedding.{{p}}"),
        *_layer(f"{stack}.layers", f"model.{stack}.layers", {name: name for name in names}),
    )


ROBERTA_ROWS = (
    Row(f"{_SENTENCE}.embed_tokens.weight", "roberta.embeddings.word_embeddings.weight"),
    Row(f"{_SENTENCE}.embed_positions.weight", "roberta.embeddings.position_embeddings.weight"),
    Row(f"{_SENTENCE}.layernorm_embedding.{{p}}", "roberta.embeddings.LayerNorm.{p}"),
    *_layer(
        f"{_SENTENCE}.layers",
        "roberta.encoder.layer",
        {
            "self_attn.q_proj": "attention.self.query",
            "self_attn.k_proj": "attention.self.key",
            "self_attn.v_proj": "attention.self.value",
            "self_attn.out_proj": "attention.output.dense",
            "self_attn_layer_norm": "attention.output.LayerNorm",
            "fc1": "intermediate.dense",
            "fc2": "output.dense",
            "final_layer_norm": "output.LayerNorm",
        },
    ),
    Row("encoder.lm_head.dense.{p}", "lm_head.dense.{p}"),
    Row("encoder.lm_head.layer_norm.{p}", "lm_head.layer_norm.{p}"),
    Row("encoder.lm_head.weight", "lm_head.decoder.weight"),
    Row("encoder.lm_head.bias", "lm_head.bias"),
    Row(f"{HEADS}.dense.{{p}}", "classifier.dense.{p}"),
    Row(f"{HEADS}.out_proj.{{p}}", "classifier.out_proj.{p}"),
)

BART_ROWS = (
    Row("encoder.embed_tokens.weight", "model.shared.weight"),
    *_bart_stack("encoder", "self_attn"),
    *_bart_stack("decoder", "self_attn", "encoder_attn"),
    Row("decoder.output_projection.weight", "lm_head.weight"),
    Row(f"{HEADS}.dense.{{p}}", "classification_head.dense.{p}"),
    Row(f"{HEADS}.out_proj.{{p}}", "classification_head.out_proj.{p}"),
)


@dataclass(frozen=True, eq=False)
class Kind:
    """What to do with the checkpoints of one architecture.

    Attributes:
        name: what the names of HF's classes begin with.
        table: fairseq's latest names, those of classification heads without the head's own name, against HF's.
        tokens: fairseq's name of the token embedding.
        told_by: what the names begin with that tell that there is a head of pretraining.
        language: what the names of that head's own tensors begin with.
        output: its name of the weight that mostly is the token embedding's.
        suffix: what follows the name in HF's class with that head.
        config: makes the config from the arguments, the tensors, and the number of labels if there are such.
        everywhere, beside_language: make the tensors that HF has beyond fairseq's from the token embedding: in every
            class, and in the one with that head.
    """

    name: str
    table: KeyMap
    tokens: str
    told_by: str
    language: str
    output: str
    suffix: str
    config: Callable[[Args, Tensors, int | None], ModelConfig]
    everywhere: Callable[[Tensor], dict[str, Tensor]] = lambda tokens: {}
    beside_language: Callable[[Tensor], dict[str, Tensor]] = lambda tokens: {}


def _roberta_config(args: Args, tensors: Tensors, labels: int | None) -> ModelConfig:
    args.require("encoder_normalize_before", False)
    activation = args.activation()
    if activation != "gelu" and any(name.startswith("encoder.lm_head.") for name in tensors):
        raise FileError(f"{args.path} has another activation_fn than 'gelu' in its head, too, where RoBERTa has none")
    vocab, width = shape_of(args, tensors, f"{_SENTENCE}.embed_tokens.weight")
    return RobertaConfig(
        **SPECIALS,
        num_labels=labels,
        vocab_size=vocab,
        hidden_size=width,
        num_hidden_layers=_layers(tensors, _SENTENCE),
        num_attention_heads=args.get("encoder_attention_heads", int),
        intermediate_size=shape_of(args, tensors, f"{_SENTENCE}.layers.0.fc1.weight")[0],
        hidden_act=activation,
        hidden_dropout_prob=args.get("dropout", float, 0.1),
        attention_probs_dropout_prob=args.get("attention_dropout", float, 0.1),
        classifier_dropout=args.get("pooler_dropout", float, 0.0),
        max_position_embeddings=shape_of(args, tensors, f"{_SENTENCE}.embed_positions.weight")[0],
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def _bart_config(args: Args, tensors: Tensors, labels: int | None) -> ModelConfig:
    vocab, width = shape_of(args, tensors, "encoder.embed_tokens.weight")
    rows = [shape_of(args, tensors, f"{stack}.embed_positions.weight")[0] for stack in STACKS]
    if rows[0] != rows[1]:
        raise FileError(
            f"{args.path} has {rows[0]} positions in its encoder and {rows[1]} in its decoder, BART as many"
        )
    sizes: dict[str, Any] = {}
    for stack in STACKS:
        args.require(f"{stack}_normalize_before", False)
        sizes[f"{stack}_layers"] = _layers(tensors, stack)
        sizes[f"{stack}_attention_heads"] = args.get(f"{stack}_attention_heads", int)
        sizes[f"{stack}_ffn_dim"] = shape_of(args, tensors, f"{stack}.layers.0.fc1.weight")[0]
        sizes[f"{stack}_layerdrop"] = args.get(f"{stack}_layerdrop", float, 0.0)
    return BartConfig(
        **SPECIALS,
        num_labels=labels,
        **sizes,
        vocab_size=vocab,
        d_model=width,
        max_position_embeddings=rows[0] - SPECIALS["pad_token_id"] - 1,
        activation_function=args.activation(),
        dropout=args.get("dropout", float, 0.1),
        attention_dropout=args.get("attention_dropout", float, 0.0),
        activation_dropout=args.get("activation_dropout", float, 0.0),
        classifier_dropout=args.get("pooler_dropout", float, 0.0),
        scale_embedding=not args.get("no_scale_embedding", bool, True),
    )


def shape_of(args: Args, tensors: Tensors, name: str) -> tuple[int, int]:
    """The rows and columns of a matrix that must be there.

    Raises:
        FileError: it is not.
    """
    if name not in tensors or tensors[name].dim() != 2:
        raise FileError(f"{args.path} has no matrix {name}, which RoBERTa or BART of fairseq would have")
    rows, columns = tensors[name].shape
    return rows, columns


def _layers(tensors: Tensors, stack: str) -> int:
    found = (re.match(rf"{re.escape(stack)}\.layers\.(\d+)\.", name) for name in tensors)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


ROBERTA = Kind(
    name="Roberta",
    table=KeyMap(ROBERTA_ROWS),
    tokens=f"{_SENTENCE}.embed_tokens.weight",
    told_by="encoder.lm_head.",
    language="encoder.lm_head.",
    output="encoder.lm_head.weight",
    suffix="ForMaskedLM",
    config=_roberta_config,
    everywhere=lambda tokens: {"roberta.embeddings.token_type_embeddings.weight": tokens.new_zeros(1, tokens.shape[1])},
)
BART = Kind(
    name="Bart",
    table=KeyMap(BART_ROWS),
    tokens="encoder.embed_tokens.weight",
    told_by="decoder.",
    language="decoder.output_projection.",
    output="decoder.output_projection.weight",
    suffix="ForConditionalGeneration",
    config=_bart_config,
    beside_language=lambda tokens: {"final_logits_bias": tokens.new_zeros(1, len(tokens))},
)
