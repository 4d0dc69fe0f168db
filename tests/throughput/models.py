"""A tiny tokenizer and models for it, whose every text has as many tokens as words, and two."""

from __future__ import annotations

import random
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from adapterzoo import Tokenizer
from tests.helpers.tiny import tiny_model

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tokenizer(longest: int = 20) -> Tokenizer:
    """One token a letter; `<s>` and `</s>` around texts."""
    backend = Backend(WordLevel({word: number for number, word in enumerate((*SPECIAL, *LETTERS))}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    ends = [("<s>", 0), ("</s>", 2)]
    backend.post_processor = TemplateProcessing(
        single="<s>:0 $A:0 </s>:0", pair="<s>:0 $A:0 </s>:0 $B:1 </s>:1", special_tokens=ends
    )
    settings: dict[str, object] = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    return Tokenizer(backend, {**settings, "model_max_length": longest})


def words(count: int) -> str:
    return " ".join(random.choices(LETTERS, k=count))


def some_texts(count: int = 12, longest: int = 15) -> list[str]:
    return [words(random.randint(1, longest)) for _ in range(count)]


def model(architecture: str = "bert", suffix: Any = "AdapterModel", **changes: Any) -> Any:
    return tiny_model(architecture, suffix, pad_token_id=1, eos_token_id=2, bos_token_id=0, **changes).eval()
