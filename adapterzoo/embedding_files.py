"""Embeddings in files: written as safetensors with the tokenizer's own files beside; AdapterHub's are read, too."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextvars import Context
from functools import partial
from pathlib import Path

from torch import Tensor

from adapterzoo.core.misfit import misfit, wrong_dtype
from adapterzoo.core.registry import NamedModules
from adapterzoo.embedding_pool import Biases, KeptEmbedding, biases_of, embedding_of
from adapterzoo.embeddings import VocabularyLike, activate, check_width, kept, padding_of, rows_for
from adapterzoo.host import Host
from adapterzoo.store import FileError, Source, contents, find, read_tensor, read_tensors, write_tensors
from adapterzoo.tokenization import files
from adapterzoo.tokenizer import Tokenizer
from adapterzoo.writing import together, write_whole

WEIGHTS, PEER_WEIGHTS, TOKENIZER = "embedding.safetensors", "embedding.pt", "tokenizer"
TOKENIZER_FILES = tuple(
    f"{TOKENIZER}/{name}"
    for name in (
        files.TOKENIZER,
        files.WORDPIECE,
        files.BPE_VOCAB,
        files.BPE_MERGES,
        files.CONFIG,
        files.SPECIALS,
        files.ADDED,
    )
)
"""What a tokenizer's folder may hold that is read here."""


def save(model: Host, folder: Source, name: str, tokenizer: VocabularyLike | None) -> None:
    """See `AdaptedModel.save_embeddings`."""
    tensors = kept(model, name).tensors()
    if tokenizer is not None:
        _check_rows(tokenizer, tensors["weight"], "the tokenizer")
    with together():
        write_tensors(Path(folder) / WEIGHTS, tensors)
        if tokenizer is not None:
            _write_tokenizer(Path(folder) / TOKENIZER, tokenizer)


def _write_tokenizer(folder: Path, tokenizer: VocabularyLike) -> None:
    """Write a tokenizer's files as others are written: whole, and together with them."""
    with tempfile.TemporaryDirectory() as elsewhere:
        # In a context of its own, or our own tokenizer's files would wait for the others and not be there to copy.
        Context().run(tokenizer.save_pretrained, elsewhere)
        for path in sorted(path for path in Path(elsewhere).rglob("*") if path.is_file()):
            write_whole(folder / path.relative_to(elsewhere), partial(shutil.copyfile, path))


def save_all(model: Host, folder: Path) -> None:
    """Write every embedding but the model's own, which is in the model's file."""
    for name in model.embeddings.added:
        save(model, folder / NamedModules.slug(name), name, model.embeddings.tokenizer(name))


def load(model: Host, source: Source, name: str, allow_pickle: bool, revision: str | None = None) -> Tokenizer | None:
    """See `AdaptedModel.load_embeddings`. Everything is read and checked before the model is touched."""
    model.embeddings.check_new(name)
    path, tensors = _read(source, allow_pickle, revision)
    weight, like = tensors["weight"], model.base.token
    if weight.dim() != 2 or wrong_dtype(weight):
        raise FileError(f"{path} holds no embedding: its shape is {tuple(weight.shape)}, its dtype {weight.dtype}")
    try:
        check_width(model, weight.size(1))
        tokenizer = _read_tokenizer(source, revision)
        if tokenizer is not None:
            _check_rows(tokenizer, weight, "the tokenizer beside it")
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error
    biases = _biases(model, tensors)
    own = weight.to(device=like.weight.device, dtype=like.weight.dtype, copy=True)
    token = embedding_of(own, like, padding_of(model, tokenizer, len(weight)))
    model.embeddings.add(name, KeptEmbedding(token, biases), tokenizer)
    activate(model, name)
    return tokenizer


def _read(source: Source, allow_pickle: bool, revision: str | None) -> tuple[Path, Mapping[str, Tensor]]:
    """An embedding's file, ours before the peer's."""
    path = find(source, WEIGHTS, revision)
    if path is not None:
        tensors = read_tensors(path)
        if "weight" not in tensors:
            raise FileError(f"{path} has no tensor 'weight'; it has {', '.join(sorted(tensors)) or 'none'}")
        return path, tensors
    path = find(source, PEER_WEIGHTS, revision)
    if path is None:
        raise FileNotFoundError(
            f"{os.fspath(source)!r} has no embedding: neither {WEIGHTS} nor {PEER_WEIGHTS}; {contents(source)}"
        )
    return path, {"weight": read_tensor(path, allow_pickle)}


def _read_tokenizer(source: Source, revision: str | None) -> Tokenizer | None:
    """The tokenizer beside an embedding, if there is one."""
    paths = [path for file in TOKENIZER_FILES if (path := find(source, file, revision)) is not None]
    return Tokenizer.from_pretrained(paths[0].parent) if paths else None


def _check_rows(tokenizer: VocabularyLike, weight: Tensor, what: str) -> None:
    needed = rows_for(tokenizer)
    if needed > len(weight):
        raise ValueError(f"{what} has ids up to {needed - 1}, but the embedding has {len(weight)} rows")


def _biases(model: Host, tensors: Mapping[str, Tensor]) -> dict[str, Biases]:
    """What heads get under an embedding that is loaded: what the file has for a head of that name and shape, else 0."""
    rows, made = len(tensors["weight"]), {}
    for name, head in model.heads_of().items():
        present: Mapping[str, Tensor] = biases_of(head)
        if not present:
            continue
        made[name] = Biases(present).resized(rows)
        stem = f"heads.{NamedModules.slug(name)}."
        for key, tensor in made[name].tensors().items():
            found = tensors.get(stem + key)
            if found is not None and misfit(found, tensor.shape) is None:
                tensor.data.copy_(found)
    return made
