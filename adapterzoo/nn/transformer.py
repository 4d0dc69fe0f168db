"""The network: embeddings and up to two stacks of layers. It knows no method, no architecture's name and no file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.run import BARE, NOTHING, Ctx, Run, Tokens, Unit
from adapterzoo.core.sites import Site
from adapterzoo.nn.attention import Batch, Mask, Memory, normed
from adapterzoo.nn.cache import Cache, LayerCache
from adapterzoo.nn.convolution import Convolution
from adapterzoo.nn.embedding import Embedding, position_rows, token_embedding
from adapterzoo.nn.layer import Layer, LayerOutput
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.relative import Distances, RelativePositions


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
        given: how the tokens lay that the caller gave; None if there are no others.
        own: (B, T), True at these.
        start: (B, D), the vector at each row's first position, where that may be none of these.
    """

    hidden: Tensor
    layout: Layout
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    given: Layout | None = None
    own: Tensor | None = None
    start: Tensor | None = None

    def first(self) -> Tensor:
        """The vector at each row's first position, (B, D)."""
        return self.layout.first(self.hidden) if self.start is None else self.start

    def trimmed(self) -> StackOutput:
        """The same without positions that the caller did not give."""
        layout, own = self.given, self.own
        if layout is None or own is None:
            return self

        def trim(grid: Tensor) -> Tensor:
            return grid[own].view(layout.rows, layout.length, -1)

        hidden_states = None if self.hidden_states is None else tuple(map(trim, self.hidden_states))
        hidden = layout.tokens(trim(self.hidden))
        return self._replace(
            hidden=hidden, layout=layout, hidden_states=hidden_states, given=None, own=None, start=self.first()
        )


class Transformer(nn.Module):
    """Token embedding, an embedding and layers for each stack, a pooler where there is one.

    Attributes:
        token: the token embedding of the last stack, and of both if they share one.
        relative: what tells layers about tokens' distances, by stack, where they are told.
        convolution: what stands beside the first layer, by stack, where something does.
        bridge: brings the encoder's output to the decoder's width, where they differ.
        checkpointing: whether layers are computed again in the backward pass, to keep their insides out of memory.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config, stacks = config, config.stacks()
        self.token = token_embedding(config.last)
        own = set() if config.one_vocabulary else set(stacks) - {config.last_stack}
        self.embed = nn.ModuleDict({name: Embedding(stack, name in own) for name, stack in stacks.items()})
        for name, stack in stacks.items():
            self.add_module(name, nn.ModuleList(Layer(stack) for _ in range(stack.layers)))
        self.last_norm = nn.ModuleDict(
            {name: nn.LayerNorm(stack.width, stack.eps) for name, stack in stacks.items() if stack.pre_norm}
        )
        self.relative = nn.ModuleDict(
            {name: RelativePositions(stack, stack.relative) for name, stack in stacks.items() if stack.relative}
        )
        self.convolution = nn.ModuleDict(
            {name: Convolution(stack, stack.convolution) for name, stack in stacks.items() if stack.convolution}
        )
        widths = [stack.width for stack in stacks.values()]
        self.bridge = nn.Linear(widths[0], widths[-1]) if widths[0] != widths[-1] else None
        self.pooler = nn.Linear(widths[0], widths[0]) if config.pooler else None
        self.checkpointing = False
        if config.tied:
            self._tie()

    def _tie(self) -> None:
        """Let the decoder have the encoder's embeddings and layers, but for its cross-attention."""
        for parts in (self.embed, self.last_norm, self.relative, self.convolution):
            if "encoder" in parts:
                parts["decoder"] = parts["encoder"]
        for name, module in self.get_submodule("encoder").named_modules():
            if name.count(".") == 1:  # "0.attn": a layer's block or LayerNorm
                self.get_submodule("decoder").set_submodule(name, module)

    def forward(
        self,
        stack: str,
        given: StackInput,
        run: Run = BARE,
        memory: Memory | None = None,
        keep_hidden: bool = False,
        keep_attention: bool = False,
        cache: Cache | None = None,
    ) -> StackOutput:
        """One stack, from ids or embeddings to the last hidden states.

        Args:
            stack: "encoder" or "decoder".
            given: the input.
            run: what is active.
            memory: what cross-attention looks at.
            keep_hidden: whether to return every layer's output.
            keep_attention: whether to return attention probabilities.
            cache: the keys and values of the tokens before these, to be extended.
        """
        layout, mask, numbers = given.layout, given.mask, self.config.stacks()[stack]
        past = 0 if cache is None else cache.length
        x, own, outer = self._embed(stack, given, past, run), None, run.outside(stack)
        if "input" in outer:
            x, layout, mask, own = _lengthened(outer["input"], x, given, run, cache)
        embedded = x
        batch = Batch(layout, mask, run, memory, keep_attention, self._distances(stack, layout.length, past))
        hidden: list[Tensor] = [x]
        attentions: list[Any] = []
        crosses: list[Any] = []
        for index, layer in enumerate(getattr(self, stack)):
            if self.training and numbers.layerdrop and torch.rand(()).item() < numbers.layerdrop:
                continue
            units = run.tables.get((stack, index), NOTHING)
            out = self._layer(layer, x, batch, units, None if cache is None else cache.layers[index])
            x = out.hidden
            if index == 0 and stack in self.convolution:
                x = self.convolution[stack](embedded, x, layout)
            if keep_hidden:
                hidden.append(x)
            if keep_attention:
                attentions.append(out.attention)
                crosses.append(out.cross_attention)
        if stack in self.last_norm:
            last_norm: Any = self.last_norm[stack]
            x = normed("last.norm", last_norm, x, layout, run, outer)
            if numbers.last_state_normed:
                hidden[-1] = x
        return StackOutput(
            x,
            layout,
            tuple(map(layout.grid, hidden)) if keep_hidden else None,
            tuple(attentions) if keep_attention else None,
            tuple(crosses) if keep_attention and numbers.cross and memory is not None else None,
            None if own is None else given.layout,
            own,
        )

    def _layer(
        self, layer: nn.Module, x: Tensor, batch: Batch, units: Mapping[str, Unit], cache: LayerCache | None
    ) -> LayerOutput:
        again = self.checkpointing and torch.is_grad_enabled() and cache is None
        out: LayerOutput = (
            checkpoint(layer, x, batch, units, use_reentrant=False) if again else layer(x, batch, units, cache)
        )
        return out

    def _distances(self, stack: str, length: int, past: int) -> Distances | None:
        if stack not in self.relative:
            return None
        distances: Distances = self.relative[stack](length, past + length)
        return distances

    def _embed(self, stack: str, given: StackInput, past: int, run: Run) -> Tensor:
        layout, numbers, embed = given.layout, self.config.stacks()[stack], self.embed[stack]
        outer = run.outside(stack)
        if given.embeds is not None:
            tokens = layout.tokens(given.embeds)
        else:
            assert given.ids is not None
            ids = layout.tokens(given.ids)
            tokens = self.token_of(stack)(ids)
            if "token" in outer:
                weight = partial(_columns, self.token_of(stack))
                tokens = outer["token"](tokens, Ctx(layout, run, x=ids, weight=weight))
            if numbers.embed_scale != 1.0:
                tokens = tokens * numbers.embed_scale
        positions = position_rows(numbers, given.ids, given.positions, layout, tokens.device, past)
        segments = None if given.segments is None else layout.tokens(given.segments)

        def norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
            return normed("embed.norm", norm, x, layout, run, outer)

        out: Tensor = embed(tokens, positions, segments, norm if "embed.norm" in outer else None)
        return outer["embed"](out, Ctx(layout, run)) if "embed" in outer else out

    def token_of(self, stack: str) -> nn.Embedding:
        """A stack's token embedding."""
        own: Any = self.embed[stack].token
        token: nn.Embedding = self.token if own is None else own
        return token

    def remembered(self, hidden: Tensor) -> Tensor:
        """An encoder's output (…, D) as the decoder's cross-attention takes it."""
        return hidden if self.bridge is None else self.bridge(hidden)

    def pooled(self, first: Tensor) -> Tensor | None:
        """tanh(W·h_first + b), (B, D) to (B, D); None where there is no pooler."""
        return None if self.pooler is None else torch.tanh(self.pooler(first))

    def weight_of(self, site: Site) -> tuple[Tensor, Tensor]:
        """The frozen weight (d_out, d_in) and bias behind a linear or lookup site, as views."""
        if site.kind == "lookup":
            return _columns(self.token_of(site.stack))
        block, part = site.name.split(".")
        layer = getattr(self, site.stack)[site.depth]
        holder = getattr(layer, block)
        if block == "mlp" or part == "out":
            view: tuple[Tensor, Tensor] = getattr(holder, part).view()
            return view
        sliced: tuple[Tensor, Tensor] = getattr(holder.qkv, part)()
        return sliced


def _columns(token: nn.Embedding) -> tuple[Tensor, Tensor]:
    """A token embedding as the weight (D, V) and bias of a linear map."""
    return token.weight.T, token.weight.new_zeros(token.embedding_dim)


def _lengthened(
    unit: Unit, x: Tensor, given: StackInput, run: Run, cache: Cache | None
) -> tuple[Tensor, Layout, Mask, Tensor]:
    """The first hidden states with more positions, how they lie, who may look at whom, and which the caller gave."""
    if cache is not None:
        raise ValueError("a prompt's keys and values cannot be kept: call the model with use_cache=False")
    layout = given.layout
    grid = layout.grid(x)
    own = torch.ones(layout.rows, layout.length, dtype=torch.bool, device=x.device)
    out: Tokens = unit(Tokens(grid, layout.mask, own), Ctx(layout, run))
    return out.x, layout.longer(out.x.size(1), out.mask), given.mask.longer(out), out.own
