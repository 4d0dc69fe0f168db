"""From token ids to the first hidden states: token, position and segment embeddings, LayerNorm, dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig
from adapterzoo.nn.layout import Layout


class Embedding(nn.Module):
    """dropout(LayerNorm(token + position + segment)).

    The token embedding is not in here: both stacks of an encoder-decoder share one.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.position = nn.Embedding(config.positions, config.width)
        self.segment = nn.Embedding(config.segments, config.width) if config.segments else None
        self.norm = nn.LayerNorm(config.width, config.eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, positions: Tensor, segments: Tensor | None) -> Tensor:
        """The first hidden states.

        Args:
            tokens: (…, D), token embeddings by token.
            positions: (…), rows of the position embedding.
            segments: (…), token types, or None for type 0 throughout.

        Returns:
            (…, D).
        """
        hidden = tokens + self.position(positions)
        if self.segment is not None:
            hidden = hidden + (self.segment.weight[0] if segments is None else self.segment(segments))
        out: Tensor = self.dropout(self.norm(hidden))
        return out


def position_rows(
    config: NetworkConfig, ids: Tensor | None, given: Tensor | None, layout: Layout, device: torch.device
) -> Tensor:
    """Rows of the position embedding, by token.

    Args:
        config: the network's numbers.
        ids: (B, T) token ids, if the input was ids.
        given: (B, T) positions that the caller chose, if any.
        layout: how tokens lie.
        device: where to put them.

    Raises:
        ValueError: the sequence is longer than there are positions.
    """
    first = config.pad_id + 1 if config.positions_skip_padding else config.position_offset
    room = config.positions - first
    if given is None and layout.length > room:
        raise ValueError(f"the sequence has {layout.length} tokens, but the model has positions for {room}")
    if given is not None:
        rows = given + config.position_offset
    elif config.positions_skip_padding and ids is not None:
        real = (ids != config.pad_id).long()
        rows = real.cumsum(1) * real + config.pad_id
    else:
        rows = torch.arange(first, first + layout.length, device=device)[None]
    return layout.tokens(rows.expand(layout.rows, layout.length)) if layout.packed else rows
