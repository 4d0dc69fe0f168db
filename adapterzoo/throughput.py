"""Many texts through a model: `encode` for embeddings, `predict` for what its head says.

Shapes: N texts, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import functional as F

from adapterzoo.answers import Asked, answers, reads_words
from adapterzoo.core.registry import unknown
from adapterzoo.heads.similarity import POOLINGS
from adapterzoo.heads.token import QuestionAnsweringHead
from adapterzoo.models import Model
from adapterzoo.text_heads import Names, answering_heads, embedding_heads, module_of
from adapterzoo.text_runs import batches, embedded, evaluating, outputs
from adapterzoo.texts import Texts, longest_of
from adapterzoo.tokenizer import Tokenizer


def encode(
    model: Model,
    tokenizer: Tokenizer,
    texts: Any,
    *,
    pooling: str | None = None,
    normalize_embeddings: bool = False,
    convert_to_tensor: bool = False,
    adapter_names: Names | None = None,
    head: str | None = None,
    max_length: int | None = None,
    max_tokens: int | None = None,
    show_progress: bool | None = None,
) -> Any:
    """An embedding of each text.

    Args:
        model: the model, with whatever adapters are active; heads of it other than for similarity are passed over.
        tokenizer: its tokenizer.
        texts: a text, or any number of them; a pair of texts that are read together is a tuple.
        pooling: how tokens become one vector: "mean", "cls" or "max". None: by the head `head`, the heads of
            `adapter_names`, or the active one, if it is a similarity head; else "mean".
        normalize_embeddings: whether embeddings get length 1.
        convert_to_tensor: whether to return a tensor on the model's device, not a NumPy array.
        adapter_names: an adapter's name for each text, in any order; None for the bare model.
        head: a similarity head.
        max_length: tokens after which a text is cut off; as many as the model takes if None.
        max_tokens: tokens of a batch, padding not counted. None: 2,048 on CPUs, 32,768 elsewhere.
        show_progress: whether to show a bar on stderr; None: if that is a terminal.

    Returns:
        (N, D), or (D) for one text; floats of 32 bits where the model has fewer.

    Raises:
        UnknownName: there is no such adapter or head.
        ValueError: what is no text, an unknown pooling, or a head for something else; settings that do not fit.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(unknown("pooling", pooling, POOLINGS))
    if pooling is not None and head is not None:
        raise ValueError(f"give either pooling={pooling!r} or head={head!r}: a head has a pooling of its own")
    alone, rows, names = _given(texts, adapter_names)
    heads = [None] * len(rows) if pooling is not None else embedding_heads(model, head, names, len(rows))
    tokenised = Texts(tokenizer, rows, longest_of(tokenizer, model.base.config, max_length))
    order: list[int] = []
    parts = [torch.empty(0, model.base.config.width, device=model.device)] if not rows else []
    with evaluating(model):
        for batch in batches(model, tokenised, names, max_tokens, show_progress):
            own = None if names is None else batch.of(names)
            parts.append(embedded(model, batch, batch.of(heads), own, pooling or "mean"))
            order += batch.rows
    found = torch.cat(parts)[torch.tensor(order, dtype=torch.long).argsort().to(model.device)]
    found = found.float() if found.dtype.itemsize < 4 else found
    found = F.normalize(found, dim=-1) if normalize_embeddings else found
    found = found[0] if alone else found
    return found if convert_to_tensor else found.cpu().numpy()


def predict(
    model: Model,
    tokenizer: Tokenizer,
    texts: Any,
    *,
    top_k: int | None = None,
    is_split_into_words: bool = False,
    adapter_names: Names | None = None,
    head: str | None = None,
    max_length: int | None = None,
    max_tokens: int | None = None,
    show_progress: bool | None = None,
) -> Any:
    """What a model's head says of each text.

    Args:
        model: a model with a head: the named one, those of `adapter_names`, or the active one.
        tokenizer: its tokenizer.
        texts: as for `encode`; a question is a pair with the text that answers it.
        top_k: how many labels of a text to tell; None for the best alone, and for all where each is a yes or no.
        is_split_into_words: whether a text is a list of words.
        adapter_names, head, max_length, max_tokens, show_progress: as for `encode`.

    Returns:
        A list with an entry for each text; for one text the entry. By the head's kind:

        - classification: `{"label": …, "score": …}`; with `top_k` a list of these, best first;
        - several labels at once: a list of these for all labels, or `top_k`;
        - regression: a number;
        - tagging: a list with `{"word", "label", "score"}` for each word, where texts are not lists of words also
          `start` and `end` in characters; words that were cut off are not in it;
        - question answering: `{"answer", "score", "start", "end"}`, in characters of the second text;
        - any other: its output's tensors by name, without padding.

    Raises:
        UnknownName: there is no such adapter or head.
        ValueError: there is no head, or one that generates; what is no text.
    """
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k must be an integer of at least 1, not {top_k!r}")
    alone, rows, names = _given(texts, adapter_names, is_split_into_words)
    heads = answering_heads(model, head, names, len(rows))
    modules = {name: module_of(model, name) for name in dict.fromkeys(heads)}
    worded = any(map(reads_words, modules.values()))
    cut = "only_second" if any(isinstance(module, QuestionAnsweringHead) for module in modules.values()) else True
    longest = longest_of(tokenizer, model.base.config, max_length)
    tokenised = Texts(tokenizer, rows, longest, is_split_into_words, cut)
    found: list[Any] = [None] * len(rows)
    with evaluating(model):
        for batch in batches(model, tokenised, names, max_tokens, show_progress):
            encodings = tokenised.encoded(batch) if worded else None
            own = None if names is None else batch.of(names)
            for name, part, output in outputs(model, batch, batch.of(heads), own):
                numbers = [batch.rows[row] for row in part]
                lengths = [batch.lengths[row] for row in part]
                asked = Asked([tokenised.rows[number] for number in numbers], lengths, encodings, part, top_k)
                for number, answer in zip(numbers, answers(modules[name], output, asked), strict=True):
                    found[number] = answer
    return found[0] if alone else found


def _given(texts: Any, names: Names | None, split: bool = False) -> tuple[bool, list[Any], Names | None]:
    """Whether there is one text alone, the texts, and each one's adapter."""
    if isinstance(texts, (bytes, dict)) or not isinstance(texts, Iterable):
        raise ValueError(f"texts are a text or a list of texts, not a {type(texts).__name__}")
    rows = [texts] if isinstance(texts, str) else list(texts)
    alone = isinstance(texts, str) or (split and bool(rows) and all(isinstance(row, str) for row in rows))
    rows = [rows] if alone and split else rows
    if names is not None and len(names) != len(rows):
        raise ValueError(f"adapter_names has {len(names)} names, but there are {len(rows)} texts")
    return alone, rows, names
