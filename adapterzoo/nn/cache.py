"""What a decoder that goes on token by token remembers: the keys and values of the tokens so far."""

from __future__ import annotations

import torch
from torch import Tensor


class Slot:
    """Keys and values of one attention block, (B, H, S, E) each. Room is made ahead: most steps copy nothing."""

    def __init__(self) -> None:
        self.length = 0
        self._k: Tensor | None = None
        self._v: Tensor | None = None
        self._spare: tuple[Tensor, Tensor] | None = None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones last.

        Args:
            k, v: (B, H, T, E), of the new tokens.
        """
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            return self._joined(k, v)  # a graph needs the old tensors as they were
        need = self.length + k.size(2)
        self._k, self._v = self._with_room(self._k, k, need), self._with_room(self._v, v, need)
        self._k[:, :, self.length : need] = k
        self._v[:, :, self.length : need] = v
        self.length = need
        return self.seen()

    def seen(self) -> tuple[Tensor, Tensor]:
        """The keys and values so far."""
        assert self._k is not None
        assert self._v is not None
        return self._k[:, :, : self.length], self._v[:, :, : self.length]

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on where row `rows[i]` was."""
        if self._k is None or self._v is None:
            return
        k, v = self._k, self._v
        if k.requires_grad or v.requires_grad:
            self._k, self._v = k.index_select(0, rows), v.index_select(0, rows)
            return
        # Two pairs of tensors take turns, so that a step asks for no new memory.
        if self._spare is None or self._spare[0].shape[1:] != k.shape[1:] or len(self._spare[0]) != len(rows):
            self._spare = k.new_empty(len(rows), *k.shape[1:]), v.new_empty(len(rows), *v.shape[1:])
        self._k, self._v = (
            torch.index_select(old, 0, rows, out=new) for old, new in zip((k, v), self._spare, strict=True)
        )
        self._spare = k, v

    def _joined(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.length:
            old = self.seen()
            k, v = torch.cat([old[0], k], 2), torch.cat([old[1], v], 2)
        self._k, self._v, self.length = k, v, k.size(2)
        return k, v

    def _with_room(self, old: Tensor | None, new: Tensor, need: int) -> Tensor:
        """`old` if `need` positions fit into it, else a larger tensor that begins with it."""
        if old is not None and old.size(2) >= need:
            return old
        rows, heads, length, width = new.shape
        larger = new.new_empty(rows, heads, max(need, 2 * self.length, length + 16), width)
        if old is not None:
            larger[:, :, : self.length] = old[:, :, : self.length]
        return larger


class LayerCache:
    """One layer's: self-attention, which grows, and cross-attention, whose memory stays as it is."""

    def __init__(self) -> None:
        self.attn, self.cross = Slot(), Slot()


class Cache:
    """A decoder's keys and values, layer by layer. It belongs to one batch and one setup of adapters.

    Prefixes of prefix tuning are put before them in every step and never kept.

    Args:
        layers: how many layers the decoder has.
    """

    def __init__(self, layers: int) -> None:
        self.layers = tuple(LayerCache() for _ in range(layers))

    @property
    def length(self) -> int:
        """How many tokens are remembered."""
        return self.layers[0].attn.length

    def get_seq_length(self) -> int:
        """The same, as HF's caches call it."""
        return self.length

    def reorder(self, rows: Tensor, same_memory: bool = False) -> None:
        """Let row i go on where row `rows[i]` was.

        Args:
            rows: (B,) numbers of rows.
            same_memory: whether each row's cross-attention looks at what the old row's did (beams of one input).
        """
        if rows.is_cpu and torch.equal(rows, torch.arange(len(rows))):
            return  # elsewhere it costs more to know that than to copy
        for layer in self.layers:
            layer.attn.reorder(rows)
            if not same_memory:
                layer.cross.reorder(rows)
