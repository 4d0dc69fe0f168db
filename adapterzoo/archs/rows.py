"""Rows that several architectures' tables share."""

from __future__ import annotations

from collections.abc import Mapping

from adapterzoo.core.keymap import Row


def linears(theirs: str, ours: str, names: Mapping[str, str]) -> tuple[Row, ...]:
    """Rows for modules with weight and bias: `names` holds our name against theirs."""
    return tuple(Row(f"{theirs}{their}.{{p}}", f"{ours}{our}.{{p}}") for our, their in names.items())


def fused(theirs: tuple[str, str, str], ours: str) -> tuple[Row, ...]:
    """Rows that join their query, key and value projections into our one."""
    return tuple(Row(tuple(f"{name}.{p}" for name in theirs), f"{ours}.{p}") for p in ("weight", "bias"))


def bert_attention(block: str, module: str) -> tuple[Row, ...]:
    """One attention block as BERT names it."""
    layer, mine = f"encoder.layer.{{i}}.{module}", f"encoder.{{i}}.{block}"
    q, k, v = (f"{layer}.self.{name}" for name in ("query", "key", "value"))
    return fused((q, k, v), f"{mine}.qkv") + linears(f"{layer}.output.", mine, {".out": "dense", "_norm": "LayerNorm"})


BERT_ROWS = (
    Row("embeddings.word_embeddings.weight", "token.weight"),
    Row("embeddings.position_embeddings.weight", "embed.encoder.position.weight"),
    Row("embeddings.token_type_embeddings.weight", "embed.encoder.segment.weight"),
    Row("embeddings.LayerNorm.{p}", "embed.encoder.norm.{p}"),
    Row("pooler.dense.{p}", "pooler.{p}"),
    *bert_attention("attn", "attention"),
    *bert_attention("cross", "crossattention"),
    *linears(
        "encoder.layer.{i}.",
        "encoder.{i}.",
        {"mlp.up": "intermediate.dense", "mlp.down": "output.dense", "mlp_norm": "output.LayerNorm"},
    ),
)

BERT_PLACES = {
    "attn.join": "encoder.layer.{i}.attention.output",
    "cross.join": "encoder.layer.{i}.crossattention.output",
    "mlp.join": "encoder.layer.{i}.output",
    "attn.kv": "encoder.layer.{i}.attention.self",
    "cross.kv": "encoder.layer.{i}.crossattention.self",
}

BERT_UNUSED = ("embeddings.position_ids", "embeddings.token_type_ids")

CLASSIFIER = (Row("classifier.{p}", "1.{p}"),)
QA_OUTPUTS = (Row("qa_outputs.{p}", "1.{p}"),)
LINEAR = {"layers": 1, "activation_function": None}
QA = {**LINEAR, "dropout_prob": 0.0}
POOLED = {**LINEAR, "use_pooler": True}
TWO_LAYERS = {"layers": 2, "activation_function": "tanh"}
