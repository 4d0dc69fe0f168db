"""fairseq's checkpoints, written here."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Sizes(NamedTuple):
    """A model's sizes."""

    width: int
    inner: int
    heads: int
    layers: int
    vocab: int
    positions: int


TINY = Sizes(16, 24, 4, 2, 30, 20)
ARGS = {"encoder_attention_heads": TINY.heads, "dropout": 0.2, "attention_dropout": 0, "activation_fn": "gelu"}
"""The arguments that a checkpoint has."""


def tiny_roberta(
    old: bool, joint: bool, heads: tuple[str, ...] = (), language: bool = True, sizes: Sizes = TINY
) -> dict[str, Tensor]:
    """A random RoBERTa: with names as of 2019 or of today, projections joined or apart."""
    width = sizes.width
    top, norm = ("decoder", "emb_layer_norm") if old else ("encoder", "layernorm_embedding")
    stem = f"{top}.sentence_encoder"
    model = {
        f"{stem}.embed_tokens.weight": torch.randn(sizes.vocab, width),
        f"{stem}.embed_positions.weight": torch.randn(sizes.positions + 2, width),
        f"{stem}.version": torch.tensor([3.0]),
    }
    linear(model, f"{stem}.{norm}", width)
    for number in range(sizes.layers):
        place = f"{stem}.layers.{number}"
        attention(model, f"{place}.self_attn", joint, width)
        for name, *shape in (("fc1", sizes.inner, width), ("fc2", width, sizes.inner), ("final_layer_norm", width)):
            linear(model, f"{place}.{name}", *shape)
    if language:
        linear(model, f"{top}.lm_head.dense", width, width)
        linear(model, f"{top}.lm_head.layer_norm", width)
        model |= {
            f"{top}.lm_head.weight": model[f"{stem}.embed_tokens.weight"],
            f"{top}.lm_head.bias": torch.randn(sizes.vocab),
        }
    for number, head in enumerate(heads):
        linear(model, f"classification_heads.{head}.dense", width, width)
        linear(model, f"classification_heads.{head}.out_proj", number + 3, width)
    return model


def linear(model: dict[str, Tensor], name: str, *shape: int) -> None:
    """Add a weight and a bias."""
    model[f"{name}.weight"], model[f"{name}.bias"] = torch.randn(*shape) / 3, torch.randn(shape[0]) / 3


def attention(model: dict[str, Tensor], place: str, joint: bool, width: int) -> None:
    """Add the four projections of an attention, and the LayerNorm after it."""
    if joint:
        model[f"{place}.in_proj_weight"], model[f"{place}.in_proj_bias"] = (
            torch.randn(3 * width, width),
            torch.randn(3 * width),
        )
    for part in ("out",) if joint else ("q", "k", "v", "out"):
        linear(model, f"{place}.{part}_proj", width, width)
    linear(model, f"{place}_layer_norm", width)


def save(folder: Path, model: dict[str, Tensor], legacy: bool = False, cfg: bool = False, **args: Any) -> Path:
    """Save a checkpoint as fairseq does."""
    told = (
        {"cfg": {"model": Namespace(**ARGS, **args), "bpe": None}, "args": None}
        if cfg
        else {"args": Namespace(**ARGS, **args)}
    )
    state = {"model": model, "last_optimizer_state": {"state": {0: {"exp_avg": torch.ones(5)}}}, **told}
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=not legacy)
    return folder
