"""A model's named token embeddings: those that are not in use, with what heads have for their vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo.core.registry import NamedModules, UnknownName, unknown

DEFAULT = "default"
"""The name of the embedding that the model itself has."""


class Biases(nn.Module):
    """What a head adds to its logits under one embedding.

    Args:
        tensors: parameters and buffers by name, the vocabulary along the last dimension.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def resized(self, rows: int, own: list[int] | None = None, theirs: list[int] | None = None) -> Biases:
        """New ones for `rows` tokens: 0, but at `own` what these have at `theirs`."""
        made: dict[str, Tensor] = {}
        for name, old in self.tensors().items():
            new = old.new_zeros(*old.shape[:-1], rows)
            if own and theirs:
                new[..., own] = old.detach()[..., theirs]
            made[name] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        return Biases(made)


class KeptEmbedding(nn.Module):
    """A token embedding, and by head the biases that heads with its weight have under it.

    Args:
        token: the embedding.
        biases: the biases by head.
    """

    def __init__(self, token: nn.Embedding, biases: Mapping[str, Biases]) -> None:
        super().__init__()
        self.token = token
        self.heads: NamedModules[Biases] = NamedModules("head")
        for name, own in biases.items():
            self.heads[name] = own

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, as files have them: "weight", and "heads.<name>.bias" and the like."""
        heads = {f"heads.{key}": tensor for key, tensor in self.heads.state_dict().items()}
        return {"weight": self.token.weight.detach(), **heads}


class EmbeddingPool(NamedModules[KeptEmbedding]):
    """The embeddings that are not in use; the active one is in the network.

    Attributes:
        active: the name of the one in use.
        names: the names of all, in the order in which they were added.
    """

    active: str = DEFAULT
    names: tuple[str, ...] = (DEFAULT,)

    def __init__(self) -> None:
        super().__init__("embedding")
        self._tokenizers: dict[str, Any] = {}

    @property
    def added(self) -> tuple[str, ...]:
        """The names of all but the model's own."""
        return tuple(name for name in self.names if name != DEFAULT)

    def check_new(self, name: object, overwrite_ok: bool = False) -> None:
        """Check that a new embedding may have a name.

        Raises:
            TypeError: it is no string.
            ValueError: it is empty, or taken.
        """
        if name in self.names:
            raise ValueError(f"there is already an embedding named {name!r}; delete_embeddings takes it away")
        super().check_new(name, overwrite_ok)

    def check(self, name: str) -> None:
        """Check that there is an embedding of that name.

        Raises:
            UnknownName: there is none.
        """
        if name not in self.names:
            raise UnknownName(unknown("embedding named", name, self.names))

    def add(self, name: str, kept: KeptEmbedding, tokenizer: Any = None) -> None:
        """Keep a new embedding, and the tokenizer that it is for."""
        self[name] = kept
        self.names = (*self.names, name)
        if tokenizer is not None:
            self._tokenizers[name] = tokenizer

    def remove(self, name: str) -> None:
        """Drop an embedding that is not in use."""
        del self[name]
        self.names = tuple(other for other in self.names if other != name)
        self._tokenizers.pop(name, None)

    def swap(self, name: str, present: KeptEmbedding) -> KeptEmbedding:
        """Keep what was in use, and give what shall be."""
        there = {**dict(self.items()), self.active: present}
        wanted = there.pop(name)
        self._modules.clear()
        for kept in filter(there.__contains__, self.names):  # whatever was switched before, one order
            self[kept] = there[kept]
        self.active = name
        return wanted

    def tokenizer(self, name: str) -> Any:
        """The tokenizer that an embedding is for; None where that is not known."""
        return self._tokenizers.get(name)

    def renew_head(self, name: str, biases: Mapping[str, Tensor]) -> None:
        """Give a new head biases under every embedding that is not in use, 0; they take the place of an older head's.

        Args:
            name: the head's name.
            biases: those that it has now; empty where it has none, or its weight is not an embedding's.
        """
        for _, kept in self.items():
            if name in kept.heads:
                del kept.heads[name]
            if biases:
                kept.heads[name] = Biases(biases).resized(kept.token.num_embeddings)

    def rename_head(self, old: str, new: str) -> None:
        """Follow a head that has another name."""
        for _, kept in self.items():
            if old in kept.heads:
                kept.heads.rename(old, new)


def biases_of(head: nn.Module) -> dict[str, Tensor]:
    """The biases over the vocabulary of a head whose weight is the token embedding's; of any other, none."""
    found: dict[str, Tensor] = getattr(head, "biases", {}) if getattr(head, "tied", ()) else {}
    return found


def new_embedding(rows: int, like: nn.Embedding, std: float, padding: int | None) -> nn.Embedding:
    """An embedding with normal values of deviation `std`, at the padding 0; dtype, device and training as `like`."""
    weight = torch.empty(rows, like.embedding_dim, dtype=like.weight.dtype, device=like.weight.device)
    weight.normal_(std=std)
    if padding is not None:
        weight[padding] = 0
    return embedding_of(weight, like, padding)


def embedding_of(weight: Tensor, like: nn.Embedding, padding: int | None) -> nn.Embedding:
    """An embedding with a given weight, trained if `like` is."""
    made = nn.Embedding(len(weight), like.embedding_dim, padding_idx=padding, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=like.weight.requires_grad)
    return made.train(like.training)
