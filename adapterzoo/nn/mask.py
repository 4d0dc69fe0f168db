"""Who may look at whom in attention. B rows, T queries, S keys, P prefix positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.core.run import KV, KVPart, Tokens


class Mask:
    """Who may look at whom in one stack, for one forward.

    Args:
        keys: (B, S) True at keys that may be seen, or (B, T, S) for each query; None where all may be.
        causal: whether a query sees only keys up to its own position.
    """

    def __init__(self, keys: Tensor | None, causal: bool = False) -> None:
        self.keys = None if keys is None else keys[:, None, None] if keys.dim() == 2 else keys[:, None]
        self.causal = causal
        self._built: dict[int, Tensor] = {}
        self._parts: dict[tuple[int, ...], Mask] = {}

    def longer(self, tokens: Tokens) -> Mask:
        """The mask for rows with more positions.

        Those that the caller did not give are seen by all. Under a mask that says who may look at whom they see what
        all others see, so that nothing becomes known through them that was not before.
        """
        if self.keys is None or self.keys.size(2) == 1:
            return Mask(tokens.mask, self.causal)
        given = self.keys[:, 0]
        common = (given | ~given.any(2, keepdim=True)).all(1)  # a query that sees nothing is padding
        number = (tokens.own.cumsum(1) - 1).clamp(min=0)  # a position's number among those that the caller gave
        keys = _picked(given, number, 1).where(tokens.own[..., None], common[:, None])
        keys = _picked(keys, number, 2).where(tokens.own[:, None], True)
        return Mask(keys if tokens.mask is None else keys & tokens.mask[:, None], self.causal)

    def of(self, part: KVPart) -> Mask:
        """The mask for some rows."""
        if part.runs not in self._parts:
            self._parts[part.runs] = Mask(None, self.causal)
            self._parts[part.runs].keys = None if self.keys is None else self.keys[part.rows]
        return self._parts[part.runs]

    def tiled(self, times: int) -> Mask:
        """The mask for so many copies of the batch."""
        mask = Mask(None, self.causal)
        mask.keys = None if self.keys is None else self.keys.repeat(times, 1, 1, 1)
        return mask

    def build(self, kv: KV, queries: int) -> tuple[Tensor | None, bool]:
        """The mask for these keys: a tensor (B or 1, 1, T or 1, P + S) or None, and whether it is merely causal.

        The queries are the last T of the S positions; those before them are remembered.
        """
        keys = kv.k.size(2) - kv.prefix
        causal = bool(self.causal and queries > 1)  # a lone query is the last, and sees all
        plain = self.keys is None and kv.valid is None
        if plain and not (causal and (kv.prefix or keys > queries)):
            return None, causal
        if kv.prefix not in self._built:
            self._built[kv.prefix] = self._tensor(kv, queries, causal)
        mask = self._built[kv.prefix]
        if kv.valid is not None:
            rows, queries = kv.valid.size(0), max(kv.valid.size(1), mask.size(2))
            seen = kv.valid[:, None].expand(-1, 1, queries, -1)
            mask = torch.cat([seen, mask[..., kv.prefix :].expand(rows, -1, queries, -1)], -1)
        return mask, False

    def _tensor(self, kv: KV, queries: int, causal: bool) -> Tensor:
        keys = kv.k.size(2) - kv.prefix
        mask = self.keys
        if mask is None:
            mask = torch.ones(1, 1, 1, keys, dtype=torch.bool, device=kv.k.device)
        if causal:
            mask = mask & torch.ones(queries, keys, dtype=torch.bool, device=kv.k.device).tril(keys - queries)
        if self.keys is not None:
            # A query that may see nothing (it is padding itself) sees everything: softmax over nothing is NaN,
            # and a NaN value spreads in the next layer even where its weight is 0.
            mask = mask | ~mask.any(-1, keepdim=True)
        return F.pad(mask, (kv.prefix, 0), value=True)


def _picked(grid: Tensor, numbers: Tensor, dim: int) -> Tensor:
    """(B, T, S) with each row's own choice (B, n) along a dimension."""
    other = grid.size(3 - dim)
    index = numbers[:, :, None].expand(-1, -1, other) if dim == 1 else numbers[:, None].expand(-1, other, -1)
    return grid.gather(dim, index)
