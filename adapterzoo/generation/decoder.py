"""The network as the loops want it: new tokens in, the next token's logits out.

Shapes: B inputs, K rows of each, R = B·K, T tokens, S tokens of what cross-attention looks at, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.forward import decode, memory_of
from adapterzoo.heads.features import Unembed
from adapterzoo.heads.lm import LMHead
from adapterzoo.host import Host
from adapterzoo.inputs import Inputs
from adapterzoo.nn.cache import Cache
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.mask import Mask
from adapterzoo.nn.transformer import StackInput, StackOutput
from adapterzoo.plan import Plan


class Route(NamedTuple):
    """Who acts on which input.

    Attributes:
        plan: the adapters.
        order: the inputs' numbers in the order in which they are run; None: as they are.
        groups: sizes of the runs of inputs that have an adapter each.
        heads: the head of each run of inputs, in the order in which they are run, and how many these are.
    """

    plan: Plan
    order: list[int] | None
    groups: tuple[int, ...]
    heads: list[tuple[LMHead, int]]


class NetworkDecoder:
    """A model's decoder on one batch. Rows of one input lie together; rows come and go in the caller's order.

    Args:
        model: the model.
        inputs: what was given, in the caller's order, without the prompt's ids.
        route: who acts on which input.
        rows: K, rows of each input.
        use_cache: whether to keep keys and values, where tokens leave those before them as they are; without, every
            step runs all tokens anew.
    """

    def __init__(self, model: Host, inputs: Inputs, route: Route, rows: int, use_cache: bool = True) -> None:
        self.model, self.route, self.rows = model, route, rows
        numbers = model.base.config
        self.stack, self.seq2seq = numbers.last_stack, len(numbers.stacks()) == 2
        self.numbered = numbers.decoder is None
        moving = route.plan.readers.get(numbers.last_stack)
        self.cache = Cache(numbers.last.layers) if use_cache and not moving else None
        self.ids: Tensor | None = None
        order = None if route.order is None else torch.tensor(route.order)
        inputs = inputs if order is None else inputs.picked(order)
        self.run = route.plan.start()
        self.memory = memory_of(model, inputs, route.plan, self.run, route.groups, rows)
        self.mask = inputs.decoder_attention_mask if self.seq2seq else inputs.attention_mask
        self.positions = None if self.seq2seq else inputs.position_ids
        self.types = None if self.seq2seq else inputs.token_type_ids
        self.order = None if order is None else (order[:, None] * rows + torch.arange(rows)).flatten()
        self.one: Layout | None = None

    def step(self, ids: Tensor) -> Tensor:
        """The logits (R, V) after the last of these tokens, as float32.

        Args:
            ids: (R, T), the tokens that are new; one of each row where there were any before.
        """
        order = None if self.order is None else self.order.to(ids.device)
        new = ids if order is None else ids.index_select(0, order)
        if self.cache is None:
            new = self.ids = new if self.ids is None else torch.cat([self.ids, new], 1)
        logits = self._logits(self._first(new) if self.cache is None or not self.cache.length else self._next(new))
        if order is None:
            return logits
        return torch.empty_like(logits).index_copy_(0, order, logits)

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on where row `rows[i]` was; both are of the same input."""
        if self.order is not None:
            order = self.order.to(rows.device)
            place = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=rows.device))
            rows = place[rows[order]]
        if self.cache is not None:
            self.cache.reorder(rows, same_memory=True)
        elif self.ids is not None:
            self.ids = self.ids.index_select(0, rows)

    def _first(self, ids: Tensor) -> Tensor:
        """The last hidden state of each row, (R, 1, D), of all its tokens (R, T)."""
        plan, groups = self.route.plan, self.route.groups
        output = decode(self.model, self._inputs(ids), plan, self.run, groups, self.rows, self.memory, self.cache)
        layout = output.layout
        return layout.at(output.hidden, torch.full((layout.rows,), layout.length - 1, device=ids.device))[:, None]

    def _next(self, ids: Tensor) -> Tensor:
        """The hidden state of one more token of each row, (R, 1, D). A loop chose these: nothing is checked again."""
        given = self._inputs(ids)
        mask = given.decoder_attention_mask if self.seq2seq else given.attention_mask
        seen = Mask(None if mask is None else mask.bool())
        tokens = StackInput(self._layout(ids), seen, ids, None, given.token_type_ids, given.position_ids)
        output: StackOutput = self.model.base(self.stack, tokens, self.run, self.memory, cache=self.cache)
        return output.hidden

    def _layout(self, rows: Tensor) -> Layout:
        """How one token of each row lies: the same in all steps."""
        if self.one is None:
            self.one = Layout(len(rows), 1, None, False, self.route.groups)
            self.one.choices, self.one.copies = self.rows, self.route.plan.copies
            self.route.plan.cut(self.stack, self.one)
        return self.one

    def _logits(self, hidden: Tensor) -> Tensor:
        """What the heads say of hidden states (R, 1, D)."""
        last, heads = self._layout(hidden), self.route.heads
        unembed = Unembed.of(self.run, self.stack, last, hidden)
        if len(heads) == 1:
            return heads[0][0].body(hidden, unembed).squeeze(1).float()
        logits, cuts = [], last.cuts(tuple(size for _, size in heads))
        for (head, _), cut in zip(heads, cuts, strict=True):
            logits.append(head.body(hidden[cut.tokens], None if unembed is None else unembed.rows(cut)))
        return torch.cat(logits).squeeze(1).float()

    def _inputs(self, ids: Tensor) -> Inputs:
        """The network's inputs for these ids (R, T), which are the last ones of all that there are."""
        past = 0 if self.cache is None else self.cache.length
        mask = grown(self.mask, past + ids.size(1), 1)
        if self.seq2seq:
            return Inputs(decoder_input_ids=ids, decoder_attention_mask=self._spread(mask))
        types = None if self.types is None else grown(self.types, past + ids.size(1), self.types[:, -1:])
        return Inputs(
            input_ids=ids,
            attention_mask=self._spread(mask),
            token_type_ids=None if types is None else self._spread(types[:, past:]),
            position_ids=self._positions(mask, past, ids),
        )

    def _positions(self, mask: Tensor | None, past: int, ids: Tensor) -> Tensor | None:
        """The tokens' positions: those that were given, and on from there.

        If none were, a stack that HF's `generate` tells its positions has its tokens counted from 0, padding left out.
        That it does so for RoBERTa as well, whose forward counts from the padding's id + 1, is HF's way, and ours.
        """
        if self.positions is not None:
            more = torch.arange(1, past + ids.size(1) - self.positions.size(1) + 1, device=ids.device)
            return self._spread(torch.cat([self.positions, self.positions[:, -1:] + more], 1)[:, past:])
        if not self.numbered:
            return None
        if mask is None:
            return torch.arange(past, past + ids.size(1), device=ids.device).expand(ids.shape)
        numbers = (mask.long().cumsum(1) - 1).masked_fill(mask == 0, 1)
        return self._spread(numbers[:, past:])

    def _spread(self, values: Tensor | None) -> Tensor | None:
        """Each input's (B, T) for all of its rows: (R, T)."""
        return values if values is None or self.rows == 1 else values.repeat_interleave(self.rows, 0)


def grown(values: Tensor | None, length: int, fill: int | Tensor) -> Tensor | None:
    """(B, T) with as many columns as there are tokens, the new ones filled."""
    if values is None or values.size(1) >= length:
        return values
    more = length - values.size(1)
    if isinstance(fill, Tensor):
        return torch.cat([values, fill.expand(-1, more)], 1)
    return F.pad(values, (0, more), value=fill)
