"""From token ids to the first hidden states: token, position and segment embeddings, LayerNorm, dropout."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from adapterzoo.core.config import StackConfig
from adapterzoo.nn.dropout import dropped
from adapterzoo.nn.layout import Layout


def token_embedding(config: StackConfig) -> nn.Embedding:
    """The embedding of tokens alone."""
    return nn.Embedding(config.vocab, config.token_width, padding_idx=config.pad_id)


class Embedding(nn.Module):
    """W·dropout(LayerNorm(U·(token + position + segment))), each part where there is one; a token is always there.

    Args:
        config: the stack's numbers.
        own_tokens: whether the token embedding is in here; if not, both stacks of an encoder-decoder share one.
    """

    def __init__(self, config: StackConfig, own_tokens: bool = False) -> None:
        super().__init__()
        width, last = config.token_width, config.width
        self.token = token_embedding(config) if own_tokens else None
        self.position = nn.Embedding(config.positions, width) if config.positions else None
        self.segment = nn.Embedding(config.segments, width) if config.segments else None
        first = nn.Linear(width, last, bias=False) if width != last and config.project_first else None
        self.widen, self.norm = first, nn.LayerNorm(last if config.project_first else width, config.eps)
        self.project = nn.Linear(width, last) if width != last and not config.project_first else None
        self.dropout, self.scale = config.dropout, config.embed_scale

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None,
        segments: Tensor | None,
        normed: Callable[[nn.LayerNorm, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The first hidden states, not projected yet.

        Args:
            tokens: (…, E), token embeddings by token, scaled already.
            positions: (…), rows of the position embedding, where there is one.
            segments: (…), token types, or None for type 0 throughout.
            normed: applies the LayerNorm, where something is active there.

        Returns:
            (…, E); (…, D) if U widens it.
        """
        hidden = tokens
        if self.position is not None:
            hidden = hidden + self.position(positions)
        if self.segment is not None:
            hidden = hidden + (self.segment.weight[0] if segments is None else self.segment(segments))
        if self.widen is not None:
            hidden = self.widen(hidden)
        hidden = self.norm(hidden) if normed is None else normed(self.norm, hidden)
        return dropped(hidden, self.dropout, self.training)

    def projected(self, hidden: Tensor) -> Tensor:
        """What the first layer reads, (…, D): W·h where there is a W, h where there is none."""
        return hidden if self.project is None else self.project(hidden)


def position_rows(
    config: StackConfig, ids: Tensor | None, given: Tensor | None, layout: Layout, device: torch.device, past: int = 0
) -> Tensor | None:
    """Rows of the position embedding, by token; None where there is no such embedding.

    Args:
        config: the stack's numbers.
        ids: (B, T) token ids, if the input was ids.
        given: (B, T) positions that the caller chose, if any.
        layout: how tokens lie.
        device: where to put them.
        past: how many tokens came before these.

    Raises:
        ValueError: the sequence is longer than there are positions.
    """
    if config.room is None:
        return None
    length = past + layout.length
    if given is None and length > config.room:
        raise ValueError(f"the sequence has {length} tokens, but the model has positions for {config.room}")
    if given is not None:
        rows = given + config.position_offset
    elif config.padding_position is not None and ids is not None:
        real = (ids != config.pad_id).long()
        rows = (real.cumsum(1) + past) * real + config.padding_position
    else:
        first = config.first_position
        rows = torch.arange(first + past, first + length, device=device)[None]
    return layout.tokens(rows.expand(layout.rows, layout.length)) if layout.packed else rows
