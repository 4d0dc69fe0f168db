"""RoBERTa and BERT written by hand over another library's names, in plain PyTorch operations: what to compare with."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Linear = Callable[[str, Tensor], Tensor]


def attend(query: Tensor, key: Tensor, value: Tensor, keep: Tensor, heads: int) -> Tensor:
    """Softmax attention of (batch, tokens, width) with `heads` heads, over the tokens that `keep` names."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~keep[:, None, None, :], -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def layer(x: Tensor, keep: Tensor, heads: int, linear: Linear, norm: Linear, names: dict[str, str]) -> Tensor:
    """One layer with its LayerNorms after the sums. `names`: q, k, v, out, after_attention, up, down, after_inner."""
    q, k, v = (linear(names[part], x) for part in "qkv")
    x = norm(names["after_attention"], x + linear(names["out"], attend(q, k, v, keep, heads)))
    return norm(names["after_inner"], x + linear(names["down"], F.gelu(linear(names["up"], x))))


def fairseq_roberta(model: dict[str, Tensor], tokens: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """The hidden states and the language model's scores of a fairseq RoBERTa, under its own names."""
    top = "decoder" if any(name.startswith("decoder.") for name in model) else "encoder"
    stem = f"{top}.sentence_encoder"

    def linear(name: str, x: Tensor) -> Tensor:
        block, _, part = name.rpartition(".")
        joint = f"{block}.in_proj_"
        if joint + "weight" in model and part in ("q_proj", "k_proj", "v_proj"):
            at = slice("qkv".index(part[0]) * x.shape[-1], ("qkv".index(part[0]) + 1) * x.shape[-1])
            return x @ model[f"{joint}weight"][at].T + model[f"{joint}bias"][at]
        return x @ model[f"{name}.weight"].T + model[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], model[f"{name}.weight"], model[f"{name}.bias"], 1e-5)

    keep = tokens != 1
    positions = keep.cumsum(1) * keep + 1
    embedded = model[f"{stem}.embed_tokens.weight"][tokens] + model[f"{stem}.embed_positions.weight"][positions]
    old = f"{stem}.emb_layer_norm.weight" in model
    x = norm(f"{stem}.{'emb_layer_norm' if old else 'layernorm_embedding'}", embedded)
    number = 0
    while f"{stem}.layers.{number}.fc1.weight" in model:
        place = f"{stem}.layers.{number}"
        names = {part: f"{place}.self_attn.{part}_proj" for part in ("q", "k", "v", "out")}
        names |= {"after_attention": f"{place}.self_attn_layer_norm", "up": f"{place}.fc1", "down": f"{place}.fc2"}
        x = layer(x, keep, heads, linear, norm, {**names, "after_inner": f"{place}.final_layer_norm"})
        number += 1
    made = norm(f"{top}.lm_head.layer_norm", F.gelu(linear(f"{top}.lm_head.dense", x)))
    return x, linear(f"{top}.lm_head", made)


def tensorflow_bert(model: dict[str, Tensor], tokens: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """The scores of words and of the next sentence of Google's BERT, under its own names; no token is padding."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ model[f"{name}/kernel"] + model[f"{name}/bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        place = f"{name}/LayerNorm"
        return F.layer_norm(x, x.shape[-1:], model[f"{place}/gamma"], model[f"{place}/beta"], 1e-12)

    words = model["bert/embeddings/word_embeddings"]
    positions = model["bert/embeddings/position_embeddings"][: tokens.shape[1]]
    x = norm("bert/embeddings", words[tokens] + positions + model["bert/embeddings/token_type_embeddings"][0])
    number = 0
    while f"bert/encoder/layer_{number}/output/dense/kernel" in model:
        place = f"bert/encoder/layer_{number}"
        parts = {"q": "query", "k": "key", "v": "value"}
        names = {part: f"{place}/attention/self/{name}" for part, name in parts.items()}
        names |= {"out": f"{place}/attention/output/dense", "after_attention": f"{place}/attention/output"}
        names |= {
            "up": f"{place}/intermediate/dense",
            "down": f"{place}/output/dense",
            "after_inner": f"{place}/output",
        }
        x = layer(x, torch.ones_like(tokens, dtype=torch.bool), heads, linear, norm, names)
        number += 1
    pooled = torch.tanh(linear("bert/pooler/dense", x[:, 0]))
    made = norm("cls/predictions/transform", F.gelu(linear("cls/predictions/transform/dense", x)))
    sentence = pooled @ model["cls/seq_relationship/output_weights"].T + model["cls/seq_relationship/output_bias"]
    return made @ words.T + model["cls/predictions/output_bias"], sentence
