"""The network as the loops want it: new tokens in, the next token's logits out.

Shapes: B inputs, K rows of each, R = B·K, T tokens, S tokens of what cross-attention looks at, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.encode import decode, memory_of
from adapterzoo.heads.features import Unembed
from adapterzoo.heads.lm import LMHead
from adapterzoo.host import Host
from adapterzoo.inputs import Inputs
from adapterzoo.nn.cache import Cache
from adapterzoo.nn.layout import Layout
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
        self.seq2seq = len(numbers.stacks()) == 2
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

    def step(self, ids: Tensor) -> Tensor:
        """The logits (R, V) after the last of these tokens, as float32.

        Args:
            ids: (R, T), the tokens that are new.
        """
        order = None if self.order is None else self.order.to(ids.device)
        new = ids if order is None else ids.index_select(0, order)
        if self.cache is None:
            new = self.ids = new if self.ids is None else torch.cat([self.ids, new], 1)
        logits = self._logits(new)
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

    def _logits(self, ids: Tensor) -> Tensor:
        plan, groups = self.route.plan, self.route.groups
        output = decode(self.model, self._inputs(ids), plan, self.run, groups, self.memory, self.cache)
        layout = output.layout
        hidden = layout.at(output.hidden, torch.full((layout.rows,), layout.length - 1, device=ids.device))
        last = Layout(layout.rows, 1, None, False, groups)
        last.choices, hidden = self.rows, hidden[:, None]
        unembed = Unembed.of(self.run, self.model.base.config.last_stack, last, hidden)
        logits, cuts = [], last.cuts(tuple(size for _, size in self.route.heads))
        for (head, _), cut in zip(self.route.heads, cuts, strict=True):
            logits.append(head.body(hidden[cut.tokens], None if unembed is None else unembed.rows(cut)))
        return torch.cat(logits).squeeze(1).float()

    def _inputs(self, ids: Tensor) -> Inputs:
        """The network's inputs for these ids (R, T), which are the last ones of all that there are."""
        past = 0 if self.cache is None else self.cache.length
        mask = grown(self.mask, past + ids.size(1), 1)
        ids = ids.unflatten(0, (-1, self.rows))
        if self.seq2seq:
            return Inputs(decoder_input_ids=ids, decoder_attention_mask=self._spread(mask))
        types = None if self.types is None else grown(self.types, past + ids.size(2), self.types[:, -1:])
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
            more = torch.arange(1, past + ids.size(2) - self.positions.size(1) + 1, device=ids.device)
            return self._spread(torch.cat([self.positions, self.positions[:, -1:] + more], 1)[:, past:])
        if not self.numbered:
            return None
        if mask is None:
            return torch.arange(past, past + ids.size(2), device=ids.device).expand(ids.shape)
        numbers = (mask.long().cumsum(1) - 1).masked_fill(mask == 0, 1)
        return self._spread(numbers[:, past:])

    def _spread(self, values: Tensor | None) -> Tensor | None:
        """(B, T) to (B, K, T)."""
        return None if values is None else values[:, None].expand(-1, self.rows, -1)


def grown(values: Tensor | None, length: int, fill: int | Tensor) -> Tensor | None:
    """(B, T) with as many columns as there are tokens, the new ones filled."""
    if values is None or values.size(1) >= length:
        return values
    more = length - values.size(1)
    if isinstance(fill, Tensor):
        return torch.cat([values, fill.expand(-1, more)], 1)
    return F.pad(values, (0, more), value=fill)
