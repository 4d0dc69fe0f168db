"""The sizes that are measured, and the same weights in our classes and in the peers'."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from adapterzoo import AutoAdapterModel, AutoTokenizer, BartConfig, BertConfig, Tokenizer
from examples.weights import minilm

CACHE = Path(tempfile.gettempdir()) / "adapterzoo-benchmarks"
WORDPIECES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@cache
def minilm_folder() -> Path:
    """all-MiniLM-L6-v2, trained: 6 layers, width 384."""
    return minilm()


@cache
def bert_base_folder() -> Path:
    """A BERT of BERT-base's size with random weights and MiniLM's vocabulary: 12 layers, width 768."""
    return _written("bert-base", BertConfig())


@cache
def bart_base_folder() -> Path:
    """A BART of BART-base's size with random weights: 6 + 6 layers, width 768."""
    numbers = {"d_model": 768, "encoder_layers": 6, "decoder_layers": 6}
    more = {"encoder_attention_heads": 12, "decoder_attention_heads": 12}
    more |= {"encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072}
    return _written("bart-base", BartConfig(**numbers, **more))


SIZES = {"MiniLM": minilm_folder, "BERT-base": bert_base_folder}


def _written(name: str, config: Any) -> Path:
    """A checkpoint with random weights, made once."""
    folder = CACHE / name
    if not (folder / "model.safetensors").exists():
        tqdm.write(f"making random weights of {name}'s size in {folder}")
        torch.manual_seed(0)
        AutoAdapterModel.from_config(config).save_pretrained(folder)
        for file in WORDPIECES:
            if config.model_type == "bert" and (minilm() / file).exists():
                shutil.copy(minilm() / file, folder / file)
    return folder


def tokenizer() -> Tokenizer:
    """MiniLM's tokenizer, with no truncation but the model's."""
    made = AutoTokenizer.from_pretrained(minilm())
    made.model_max_length = 512
    return made
