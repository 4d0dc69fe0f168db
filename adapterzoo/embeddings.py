"""What a model does with its named token embeddings: add, switch and drop them; heads with tied weights follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import nn

from adapterzoo.core.config import StackConfig
from adapterzoo.embedding_pool import DEFAULT, Biases, KeptEmbedding, biases_of, new_embedding
from adapterzoo.host import Host
from adapterzoo.merging import check_switching


@runtime_checkable
class VocabularyLike(Protocol):
    """What an embedding asks of a tokenizer. adapterzoo's have it, and transformers'."""

    def __len__(self) -> int:
        """How many tokens there are."""

    def get_vocab(self) -> Mapping[str, int]:
        """All tokens with their ids."""

    def save_pretrained(self, save_directory: str, /) -> Any:
        """Write it into a directory."""


class Shared(NamedTuple):
    """Tokens that two vocabularies share.

    Attributes:
        own: their ids in the new vocabulary.
        theirs: their ids in the other one, in the same order.
    """

    own: list[int]
    theirs: list[int]


def rows_for(tokenizer: VocabularyLike) -> int:
    """How many rows an embedding for a tokenizer needs: as many as its tokens, and more where its ids have gaps.

    Raises:
        TypeError: it is no tokenizer.
        ValueError: it has no tokens, or ids below 0.
    """
    if not isinstance(tokenizer, VocabularyLike):
        raise TypeError(
            f"an embedding is for a tokenizer, which has a length, get_vocab() and save_pretrained(), not for a "
            f"{type(tokenizer).__name__}"
        )
    ids = tokenizer.get_vocab().values()
    if not ids or min(ids) < 0:
        raise ValueError(f"the tokenizer has {f'a token with the id {min(ids)}' if ids else 'no tokens'}")
    return max(len(tokenizer), max(ids) + 1)


def padding_of(model: Host, tokenizer: Any, rows: int) -> int | None:
    """The row that is padding: the tokenizer's pad token, or if it tells none the model's; None if there is no such."""
    told = getattr(tokenizer, "pad_token_id", None)
    padding = model.config.pad_token_id if told is None else told
    return padding if padding is not None and padding < rows else None


def add(
    model: Host,
    name: str,
    tokenizer: VocabularyLike,
    reference_embedding: str | None,
    reference_tokenizer: VocabularyLike | None,
    embedding_dim: int | None,
) -> None:
    """See `AdaptedModel.add_embeddings`."""
    pool, like = model.embeddings, model.base.token
    pool.check_new(name)
    rows = rows_for(tokenizer)
    check_width(model, embedding_dim)
    shared, source = Shared([], []), None
    if reference_embedding is not None and reference_tokenizer is not None:
        source = present(model) if reference_embedding == pool.active else kept(model, reference_embedding)
        shared = shared_tokens(tokenizer, reference_tokenizer, reference_embedding, source.token.num_embeddings)
    elif reference_embedding is not None or reference_tokenizer is not None:
        given, lost = "reference_embedding", "reference_tokenizer"
        given, lost = (given, lost) if reference_embedding is not None else (lost, given)
        raise ValueError(f"{given} is given without {lost}: which rows to copy is told by the two together")
    token = new_embedding(rows, like, model.base.config.init_std, padding_of(model, tokenizer, rows))
    if source is not None:
        token.weight.data[shared.own] = source.token.weight.data[shared.theirs]
    pool.add(name, KeptEmbedding(token, _new_biases(model, rows, source, shared)), tokenizer)
    activate(model, name)


def check_width(model: Host, width: object) -> None:
    """Check that an embedding's width, where one is told, is the model's.

    Raises:
        ValueError: it is another.
    """
    needed = model.base.token.embedding_dim
    if width is not None and width != needed:
        raise ValueError(f"the width must be {needed}, as of the model's token embedding, not {width!r}")


def shared_tokens(tokenizer: VocabularyLike, reference: VocabularyLike, name: str, rows: int) -> Shared:
    """The tokens that a tokenizer shares with that of a reference embedding.

    Raises:
        TypeError: the reference is no tokenizer.
        ValueError: its ids go beyond the reference embedding's rows.
    """
    needed = rows_for(reference)
    if needed > rows:
        raise ValueError(
            f"reference_tokenizer has ids up to {needed - 1}, but the embedding {name!r} has {rows} rows: "
            "it is for another tokenizer"
        )
    vocab, theirs = tokenizer.get_vocab(), reference.get_vocab()
    common = [token for token in vocab if token in theirs]
    return Shared([vocab[token] for token in common], [theirs[token] for token in common])


def _new_biases(model: Host, rows: int, source: KeptEmbedding | None, shared: Shared) -> dict[str, Biases]:
    """What heads get under a new embedding: what they have under its reference for tokens of both, else 0."""
    made = {}
    for name, head in model.heads_of().items():
        biases = biases_of(head)
        if biases and source is not None and name in source.heads:
            made[name] = source.heads[name].resized(rows, shared.own, shared.theirs)
        elif biases:
            made[name] = Biases(biases).resized(rows)
    return made


def present(model: Host) -> KeptEmbedding:
    """The active embedding, as if it were kept: the same tensors."""
    biases = {name: Biases(own) for name, head in model.heads_of().items() if (own := biases_of(head))}
    return KeptEmbedding(model.base.token, biases)


def kept(model: Host, name: str) -> KeptEmbedding:
    """An embedding, active or not.

    Raises:
        UnknownName: there is none of that name.
    """
    model.embeddings.check(name)
    return present(model) if name == model.embeddings.active else model.embeddings[name]


def loaded(model: Host) -> dict[str, nn.Embedding]:
    """All embeddings by name, in the order in which they were added."""
    return {name: kept(model, name).token for name in model.embeddings.names}


def activate(model: Host, name: str) -> None:
    """See `AdaptedModel.set_active_embeddings`."""
    pool, network = model.embeddings, model.base
    pool.check(name)
    if name == pool.active:
        return
    check_switching(model)
    wanted = pool.swap(name, present(model))
    rows, padding = wanted.token.num_embeddings, wanted.token.padding_idx
    network.token = wanted.token
    stacks: dict[str, StackConfig] = {
        stack: replace(numbers, vocab=rows, pad_id=numbers.pad_id if padding is None else padding)
        for stack, numbers in network.config.stacks().items()
        if network.token_of(stack) is network.token
    }
    network.config = replace(network.config, **stacks)  # type: ignore[arg-type]
    model.config.vocab_size = rows
    for head_name, head in model.heads_of().items():
        if getattr(head, "tied", ()):
            own = wanted.heads[head_name] if head_name in wanted.heads else Biases(biases_of(head)).resized(rows)
            head.follow(model, own.tensors())  # type: ignore[operator]


def delete(model: Host, name: str) -> None:
    """See `AdaptedModel.delete_embeddings`."""
    model.embeddings.check(name)
    if name == DEFAULT:
        raise ValueError(f"the embedding {DEFAULT!r} is the model's own, and cannot be deleted")
    if name == model.embeddings.active:
        activate(model, DEFAULT)
    model.embeddings.remove(name)


def carry_over(model: Host, made: Host, heads: Mapping[str, str]) -> None:
    """Give a model copies of another's named embeddings. Each has its own in use.

    Args:
        model: the one that has them.
        made: the one that gets them.
        heads: by the names of the new one's heads, those of the old one's that they come from.
    """
    for name in model.embeddings.added:
        own = copy.deepcopy(model.embeddings[name])
        biases = {new: own.heads[old] for new, old in heads.items() if old in own.heads}
        made.embeddings.add(name, KeptEmbedding(own.token, biases), model.embeddings.tokenizer(name))


@contextmanager
def at_default(model: Host) -> Iterator[None]:
    """The model with the embedding that is its own; afterwards with the one that was active."""
    active = model.embeddings.active
    activate(model, DEFAULT)
    try:
        yield
    finally:
        activate(model, active)
