"""The network: embeddings and up to two stacks of layers. It knows no method, no architecture's name and no file."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig, StackConfig
from adapterzoo.core.sites import BARE, Run, Site
from adapterzoo.nn.attention import Batch, Mask, Memory
from adapterzoo.nn.embedding import Embedding, position_rows
from adapterzoo.nn.layer import Layer
from adapterzoo.nn.layout import Layout

NOTHING: dict[str, object] = {}


class StackInput(NamedTuple):
    """What goes into one stack.

    Attributes:
        layout: how the batch lies in tensors.
        mask: who may look at whom.
        ids: (B, T) token ids, or None if embeddings are given.
        embeds: (B, T, D) token embeddings, in place of ids.
        segments: (B, T) token types.
        positions: (B, T) position numbers.
    """

    layout: Layout
    mask: Mask
    ids: Tensor | None = None
    embeds: Tensor | None = None
    segments: Tensor | None = None
    positions: Tensor | None = None


class StackOutput(NamedTuple):
    """What comes out of one stack.

    Attributes:
        hidden: (…, D) by token.
        layout: how the tokens lie.
        hidden_states: embeddings and each layer's output on the grid, if they were asked for.
        attentions, cross_attentions: each layer's probabilities, if they were asked for.
    """

    hidden: Tensor
    layout: Layout
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


class Transformer(nn.Module):
    """Token embedding, an embedding and layers for each stack, a pooler where there is one."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab, config.width, padding_idx=config.pad_id)
        self.embed = nn.ModuleDict({stack: Embedding(config) for stack in config.stacks()})
        for name, stack in config.stacks().items():
            self.add_module(name, nn.ModuleList(Layer(config, stack) for _ in range(stack.layers)))
        self.pooler = nn.Linear(config.width, config.width) if config.pooler else None

    def forward(
        self,
        stack: str,
        given: StackInput,
        run: Run = BARE,
        memory: Memory | None = None,
        keep_hidden: bool = False,
        keep_attention: bool = False,
    ) -> StackOutput:
        """One stack, from ids or embeddings to the last hidden states.

        Args:
            stack: "encoder" or "decoder".
            given: the input.
            run: what is active.
            memory: what cross-attention looks at.
            keep_hidden: whether to return every layer's output.
            keep_attention: whether to return attention probabilities.
        """
        layout, mask = given.layout, given.mask
        batch = Batch(layout, mask, run, memory, keep_attention)
        x = self._embed(stack, given)
        hidden, attentions, crosses = [x], [], []
        numbers: StackConfig = self.config.stacks()[stack]
        for index, layer in enumerate(getattr(self, stack)):
            if self.training and numbers.layerdrop and torch.rand(()).item() < numbers.layerdrop:
                continue
            x, attention, cross = layer(x, batch, run.tables.get((stack, index), NOTHING))
            if keep_hidden:
                hidden.append(x)
            if keep_attention:
                attentions.append(attention)
                crosses.append(cross)
        return StackOutput(
            x,
            layout,
            tuple(map(layout.grid, hidden)) if keep_hidden else None,
            tuple(attentions) if keep_attention else None,
            tuple(crosses) if keep_attention and numbers.cross and memory is not None else None,
        )

    def _embed(self, stack: str, given: StackInput) -> Tensor:
        layout = given.layout
        if given.embeds is not None:
            tokens = layout.tokens(given.embeds)
        else:
            assert given.ids is not None
            tokens = self.token(layout.tokens(given.ids))
            if self.config.embed_scale != 1.0:
                tokens = tokens * self.config.embed_scale
        positions = position_rows(self.config, given.ids, given.positions, layout, tokens.device)
        segments = None if given.segments is None else layout.tokens(given.segments)
        out: Tensor = self.embed[stack](tokens, positions, segments)
        return out

    def pooled(self, hidden: Tensor, layout: Layout) -> Tensor | None:
        """tanh(W·h_first + b), (B, D); None where there is no pooler."""
        return None if self.pooler is None else torch.tanh(self.pooler(layout.first(hidden)))

    def weight_of(self, site: Site) -> tuple[Tensor, Tensor]:
        """The frozen weight (d_out, d_in) and bias behind a linear site, as views."""
        block, part = site.name.split(".")
        layer = getattr(self, site.stack)[site.depth]
        holder = getattr(layer, block)
        if block == "mlp" or part == "out":
            view: tuple[Tensor, Tensor] = getattr(holder, part).view()
            return view
        sliced: tuple[Tensor, Tensor] = getattr(holder.qkv, part)()
        return sliced
