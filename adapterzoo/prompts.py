"""Prompts that begin with a text: its tokens' embeddings, by a tokenizer that fits the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adapterzoo.host import Host
from adapterzoo.inputs import check_values
from adapterzoo.tokenizer import Tokenizer


def embedded_by(model: Host, tokenizer: Any = None) -> Callable[[str], Tensor]:
    """A function from a text to the token embeddings (n, D) that the first stack has for its tokens.

    Args:
        model: the model.
        tokenizer: called with a text, it gives `input_ids`. If None, that of the embedding in use, or the one that the
            config names (`tokenizer_name_or_path`).
    """

    def embedded(text: str) -> Tensor:
        given = _known(model) if tokenizer is None else tokenizer
        if given is None:
            raise ValueError(
                f"prompt_init_text={text!r} needs a tokenizer, and the model knows none: "
                "add_adapter(…, tokenizer=AutoTokenizer.from_pretrained(…))"
            )
        weight = model.base.token_of(next(iter(model.base.config.stacks()))).weight.detach()
        ids = torch.tensor(given(text)["input_ids"], dtype=torch.long, device=weight.device)
        if len(ids):
            check_values("the tokenizer's ids of prompt_init_text", ids, len(weight), "the vocabulary's ids")
        return weight[ids]

    return embedded


def _known(model: Host) -> Any:
    """The tokenizer that the model knows, if any. A named embedding is the last stack's."""
    numbers = model.base.config
    if numbers.one_vocabulary or len(numbers.stacks()) == 1:
        found = model.embeddings.tokenizer(model.embeddings.active)
        if found is not None:
            return found
    source = model.config.extra.get("tokenizer_name_or_path")
    return None if source is None else Tokenizer.from_pretrained(source)
