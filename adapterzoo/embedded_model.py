"""A model with named token embeddings, one for each tokenizer. What its methods do is in `embeddings.py`."""

from __future__ import annotations

from typing import Any

from torch import nn

from adapterzoo import embedding_files, embeddings
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.managed_model import ManagedModel
from adapterzoo.store import Source
from adapterzoo.tokenizer import Tokenizer


class EmbeddedModel(ManagedModel):
    """An adapted model whose token embedding can be changed for another.

    In an encoder-decoder of two vocabularies it is the decoder's.
    """

    def add_embeddings(
        self,
        name: str,
        tokenizer: embeddings.VocabularyLike,
        reference_embedding: str | None = None,
        reference_tokenizer: embeddings.VocabularyLike | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        """Add a token embedding for another tokenizer, and make it the active one. Its rows are random.

        With a reference, rows of tokens that both vocabularies have are copied, and so are these tokens' biases in
        heads whose weight is the embedding's. The config's ids of special tokens stay as they are.

        Args:
            name: any name but one that an embedding has; the model's own has the name "default".
            tokenizer: whatever has `len()`, `get_vocab()` and `save_pretrained(directory)`.
            reference_embedding: the embedding to copy rows from.
            reference_tokenizer: the tokenizer that it is for.
            embedding_dim: width of the rows; it can only be the model's.

        Raises:
            UnknownName: there is no such reference.
            ValueError: the name is taken, the width is another, only one half of a reference is given, or it has fewer
                rows than its tokenizer has tokens. Nothing is changed then.
        """
        embeddings.add(self, name, tokenizer, reference_embedding, reference_tokenizer, embedding_dim)

    def delete_embeddings(self, name: str) -> None:
        """Delete a token embedding. If it is active, "default" becomes so.

        Raises:
            UnknownName: there is none of that name.
            ValueError: it is "default", the model's own.
        """
        embeddings.delete(self, name)

    def set_active_embeddings(self, name: str) -> None:
        """Make a token embedding the active one.

        The ids that the model takes and `config.vocab_size` become those of its vocabulary. A head whose weight is the
        embedding's goes with it: it has as many outputs as the new one has rows, and the biases that it had under it
        before, or 0. These are other parameters, so make an optimizer afterwards.

        Raises:
            UnknownName: there is none of that name.
        """
        embeddings.activate(self, name)

    @property
    def active_embeddings(self) -> str:
        """The name of the active token embedding."""
        return self.embeddings.active

    @property
    def loaded_embeddings(self) -> dict[str, nn.Embedding]:
        """All token embeddings by name; "default", the model's own, is always there."""
        return embeddings.loaded(self)

    def embeddings_tokenizer(self, name: str | None = None) -> Any:
        """The tokenizer that a token embedding was added or loaded with; None if that is not known.

        Args:
            name: the embedding; the active one if None.

        Raises:
            UnknownName: there is none of that name.
        """
        name = self.embeddings.active if name is None else name
        self.embeddings.check(name)
        return self.embeddings.tokenizer(name)

    def save_embeddings(self, path: Source, name: str, tokenizer: embeddings.VocabularyLike | None = None) -> None:
        """Write a token embedding to `embedding.safetensors`, and the biases that heads with its weight have under it.

        Args:
            path: the directory.
            name: the embedding.
            tokenizer: a tokenizer to write beside it, into the folder `tokenizer`.

        Raises:
            UnknownName: there is no such embedding.
            ValueError: the tokenizer has more tokens than the embedding has rows.
        """
        embedding_files.save(self, path, name, tokenizer)

    def load_embeddings(
        self, path: Source, name: str, *, version: str | None = None, allow_pickle: bool = True, token: Token = None
    ) -> Tokenizer | None:
        """Load a token embedding that was saved here or by AdapterHub's library, and make it the active one.

        Args:
            path: a directory, or a repository's id on the Hub.
            name: the name to give it.
            version: branch, tag or commit on the Hub.
            allow_pickle: whether AdapterHub's `embedding.pt` may be read (tensors only).
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.

        Returns:
            The tokenizer beside it; None if there is none.

        Raises:
            FileNotFoundError: there is no embedding.
            ValueError: the name is taken, or the files do not fit the model or each other. Nothing is changed then.
        """
        with visit(token):
            return embedding_files.load(self, path, name, allow_pickle, version)
