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
from adapterzoo.nn.acting import normed
from adapterzoo.nn.attention import Batch, Memory, tiled
from adapterzoo.nn.cache import Cache, LayerCache
from adapterzoo.nn.climb import Climb, Repeat
from adapterzoo.nn.convolution import Convolution
from adapterzoo.nn.embedding import Embedding, position_rows, token_embedding
from adapterzoo.nn.layer import Layer, LayerOutput
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.mask import Mask
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
        repeat: where in the stack the batch is repeated, if it is.
    """

    layout: Layout
    mask: Mask
    ids: Tensor | None = None
    embeds: Tensor | None = None
    segments: Tensor | None = None
    positions: Tensor | None = None
    repeat: Repeat | None = None

    def tiled(self, times: int) -> StackInput:
        """So many copies of it, one after the other."""

        def copies(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tiled(tensor, times)

        return StackInput(
            self.layout.tiled(times),
            self.mask.tiled(times),
            copies(self.ids),
            copies(self.embeds),
            copies(self.segments),
            copies(self.positions),
        )

    def repeated(self, at: int, times: int) -> StackInput:
        """The same, repeated before the layer `at`."""
        return self._replace(repeat=Repeat(at, times, self.layout.tiled(times), self.mask.tiled(times)))


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

    def tiled(self, times: int) -> StackOutput:
        """So many copies of it, one after the other."""
        if times == 1:
            return self

        def copies(kept: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
            return None if kept is None else tuple(tiled(tensor, times) for tensor in kept)

        return StackOutput(
            tiled(self.hidden, times),
            self.layout.tiled(times),
            copies(self.hidden_states),
            copies(self.attentions),
            copies(self.cross_attentions),
        )

    def trimmed(self) -> StackOutput:
        """The same without positions that the caller did not give."""
        layout, own = self.given, self.own
        if layout is None or own is None:
            return self

        def trim(grid: Tensor) -> Tensor:
            return layout.tokens(grid[own].view(layout.rows, layout.length, -1))

        states = None if self.hidden_states is None else tuple(layout.grid(trim(grid)) for grid in self.hidden_states)
        return self._replace(
            hidden=trim(self.hidden), layout=layout, hidden_states=states, given=None, own=None, start=self._start(own)
        )

    def _start(self, own: Tensor) -> Tensor:
        """The vector at each row's first position, (B, D); of rows with more than the caller gave, past padding."""
        mask = self.layout.mask
        if mask is None:
            return self.layout.first(self.hidden)
        longer = (mask & ~own).any(1)
        return self.layout.at(self.hidden, torch.where(longer, mask.int().argmax(1), 0))


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
            x, layout, mask, own = _lengthened(outer["input"], x, given, run)
        embedding: Any = self.embed[stack]
        embedded = x = embedding.projected(x)
        batch = Batch(layout, mask, run, memory, keep_attention, self._distances(stack, layout.length, past))
        climb = Climb(x, embedded, batch, [x])
        count, repeat = len(getattr(self, stack)), given.repeat
        self._climb(stack, climb, range(count if repeat is None else repeat.at), cache, keep_hidden)
        if repeat is not None:
            climb.repeat(repeat)
            self._climb(stack, climb, range(repeat.at, count), cache, keep_hidden)
        x, layout, memory = climb.x, climb.batch.layout, climb.batch.memory
        if stack in self.last_norm:
            last_norm: Any = self.last_norm[stack]
            x = normed("last.norm", last_norm, x, layout, run, outer)
            if numbers.last_state_normed:
                climb.hidden[-1] = x
        return StackOutput(
            x,
            layout,
            tuple(map(layout.grid, climb.hidden)) if keep_hidden else None,
            tuple(climb.attentions) if keep_attention else None,
            tuple(climb.crosses) if keep_attention and numbers.cross and memory is not None else None,
            None if own is None else given.layout,
            own,
        )

    def _climb(self, stack: str, climb: Climb, layers: range, cache: Cache | None, keep_hidden: bool) -> None:
        """Run some of a stack's layers."""
        numbers, modules = self.config.stacks()[stack], getattr(self, stack)
        for index in layers:
            if self.training and numbers.layerdrop and torch.rand(()).item() < numbers.layerdrop:
                continue
            batch, units = climb.batch, climb.batch.run.tables.get((stack, index), NOTHING)
            out = self._layer(modules[index], climb.x, batch, units, None if cache is None else cache.layers[index])
            climb.x = out.hidden
            if index == 0 and stack in self.convolution:
                climb.x = self.convolution[stack](climb.embedded, climb.x, batch.layout)
            if keep_hidden:
                climb.hidden.append(climb.x)
            if batch.need_weights:
                climb.attentions.append(out.attention)
                climb.crosses.append(out.cross_attention)

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
        """The frozen weight (d_out, d_in) and bias behind a linear or lookup site, as views; a norm's gain and bias."""
        if site.kind == "lookup":
            return _columns(self.token_of(site.stack))
        if site.kind == "norm":
            norm = self.norm_of(site)
            return norm.weight, norm.bias
        block, part = site.name.split(".")
        layer = getattr(self, site.stack)[site.depth]
        holder = getattr(layer, block)
        if block == "mlp" or part == "out":
            view: tuple[Tensor, Tensor] = getattr(holder, part).view()
            return view
        sliced: tuple[Tensor, Tensor] = getattr(holder.qkv, part)()
        return sliced

    def norm_of(self, site: Site) -> nn.LayerNorm:
        """The LayerNorm of a norm site."""
        block = site.name.split(".")[0]
        if site.name == "last.norm":
            found: Any = self.last_norm[site.stack]
        elif site.name == "embed.norm":
            found = self.embed[site.stack].norm
        else:
            layer = getattr(self, site.stack)[site.depth]
            after, before = getattr(layer, f"{block}_norm"), getattr(layer, f"{block}_prenorm")
            found = before if after is None else after
        norm: nn.LayerNorm = found
        return norm


def _columns(token: nn.Embedding) -> tuple[Tensor, Tensor]:
    """A token embedding as the weight (D, V) and bias of a linear map."""
    return token.weight.T, token.weight.new_zeros(token.embedding_dim)


def _lengthened(unit: Unit, x: Tensor, given: StackInput, run: Run) -> tuple[Tensor, Layout, Mask, Tensor]:
    """The first hidden states with more positions, how they lie, who may look at whom, and which the caller gave."""
    layout = given.layout
    grid = layout.grid(x)
    own = torch.ones(layout.rows, layout.length, dtype=torch.bool, device=x.device)
    out: Tokens = unit(Tokens(grid, layout.mask, own), Ctx(layout, run))
    return out.x, layout.longer(out.x.size(1), out.mask), given.mask.longer(out), out.own
