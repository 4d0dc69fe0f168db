"""What a head reads: the network's output, by token, by row or as the usual padded tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.outputs import (
    BaseModelOutput,
    BaseModelOutputWithPooling,
    ModelOutput,
    Seq2SeqModelOutput,
)
from adapterzoo.core.run import Ctx, Cut, Note, Run, Unit
from adapterzoo.nn.cache import Cache
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.transformer import StackOutput

Pool = Callable[[Tensor], Tensor | None]


class Unembed:
    """What an invertible adapter takes back before words are scored: h of some of the batch's tokens to h.

    Args:
        unit: the site's unit.
        ctx: what it looks at, of the whole batch.
        size: the shape of the whole batch by token, without D.
        cut: which tokens; None for all.
    """

    def __init__(self, unit: Unit, ctx: Ctx, size: torch.Size, cut: Cut | None = None) -> None:
        self.unit, self.ctx, self.size, self.cut = unit, ctx, size, cut

    def __call__(self, hidden: Tensor) -> Tensor:
        if self.cut is None:
            out: Tensor = self.unit(hidden, self.ctx)
            return out
        whole = hidden.new_zeros(*self.size, hidden.size(-1))
        whole[self.cut.tokens] = hidden
        part: Tensor = self.unit(whole, self.ctx)[self.cut.tokens]
        return part

    def rows(self, cut: Cut) -> Unembed:
        """The same for some rows."""
        return Unembed(self.unit, self.ctx, self.size, cut)

    @staticmethod
    def of(run: Run, stack: str, layout: Layout, hidden: Tensor) -> Unembed | None:
        """What is active at the site `unembed`, if anything is.

        Args:
            run: the forward.
            stack: the last stack.
            layout: how its tokens lie.
            hidden: (…, D) by token.
        """
        unit = run.outside(stack).get("unembed")
        return None if unit is None else Unembed(unit, Ctx(layout, run), hidden.shape[:-1])


@dataclass(frozen=True, kw_only=True)
class Features:
    """The network's output as heads see it. Reads as the model output that a bare model returns.

    A head that works token by token calls `per_token` and never sees padding; any other reads
    `last_hidden_state` (or `features[0]`), which is made when it is looked at.

    Attributes:
        last: output of the last stack: the decoder's, or a lone stack's.
        encoder: output of the encoder under a decoder.
        pool: makes the pooled output.
        reads_end: whether a row's classification token is its last <eos>, as in BART's decoders; if not, its first.
        cls_at: (B,) where that <eos> is; None where rows have none, or where it cannot be told.
        choices: how many consecutive rows are choices of one question.
        copies: how many times the caller's batch lies in here, one after the other.
        cache: the last stack's keys and values, if they are kept.
        unembed: what stands before the scoring of words, if anything does.
        notes: where units tell scores, if these were asked for.
    """

    last: StackOutput
    pool: Pool
    encoder: StackOutput | None = None
    reads_end: bool = False
    cls_at: Tensor | None = None
    choices: int = 1
    copies: int = 1
    cache: Cache | None = None
    unembed: Unembed | None = None
    notes: list[Note] | None = None

    @property
    def layout(self) -> Layout:
        """How the last stack's tokens lie."""
        return self.last.layout

    @property
    def tells_nothing(self) -> bool:
        """Whether an output holds nothing by row beside what a head gives."""
        return self.encoder is None and self.last.hidden_states is None and self.last.attentions is None

    @cached_property
    def last_hidden_state(self) -> Tensor:
        """(B, T, D), zeros at padding."""
        return self.layout.grid(self.last.hidden)

    def per_token(self, function: Callable[[Tensor], Tensor], fill: float = 0.0) -> Tensor:
        """A function of each token's hidden state, (B, T, …), with `fill` at padding, which is not computed."""
        grid = self.layout.grid(function(self.last.hidden))
        if fill and self.layout.mask is not None:
            least = torch.finfo(grid.dtype).min  # under autocast, of another dtype than the hidden states
            grid = grid.masked_fill(~self.layout.mask[..., None], max(fill, least))
        return grid

    def cls(self, use_pooler: bool = False) -> Tensor:
        """Each row's classification vector, (B, D).

        Raises:
            ValueError: the pooler is asked for and there is none, or a row has no classification token.
        """
        if use_pooler:
            pooled = self.pool(self.last.first())
            if pooled is None:
                raise ValueError("the head reads the pooler's output, but the model has no pooler")
            return pooled
        if not self.reads_end:
            return self.last.first()
        if self.cls_at is None:
            raise ValueError(
                "the head reads the decoder where input_ids have their last <eos>, but there are rows of input_ids "
                "without one, or the decoder's input is of another length"
            )
        return self.layout.at(self.last.hidden, self.cls_at)

    @cached_property
    def outputs(self) -> ModelOutput:
        """The same as a bare model's output."""
        hidden, last, encoder = self.last_hidden_state, self.last, self.encoder
        if encoder is None:
            return BaseModelOutput(hidden, self.cache, last.hidden_states, last.attentions, last.cross_attentions)
        return Seq2SeqModelOutput(
            hidden,
            self.cache,
            last.hidden_states,
            last.attentions,
            last.cross_attentions,
            encoder.layout.grid(encoder.hidden),
            encoder.hidden_states,
            encoder.attentions,
        )

    def pooled_outputs(self) -> ModelOutput:
        """What a bare model returns: with the pooler's output, where there is a pooler."""
        pooled = None if self.encoder is not None else self.pool(self.last.first())
        if pooled is None:
            return self.outputs
        rest = {f.name: getattr(self.outputs, f.name) for f in fields(self.outputs)}
        return BaseModelOutputWithPooling(pooler_output=pooled, **rest)

    def __getitem__(self, key: str | int | slice) -> Any:
        return self.last_hidden_state if key == 0 else self.outputs[key]

    def __getattr__(self, name: str) -> Any:
        if name in ("hidden_states", "attentions", "cross_attentions") and self.encoder is None:
            return getattr(self.last, name)
        if name == "past_key_values":
            return self.cache
        if name.startswith("_") or name == "outputs":
            raise AttributeError(name)
        return getattr(self.outputs, name)

    def answer(
        self, alone: type[ModelOutput], seq2seq: type[ModelOutput], return_dict: bool, **values: Tensor | None
    ) -> Any:
        """A head's output, with what the network tells beside its last hidden states.

        Args:
            alone: the class for a lone stack.
            seq2seq: the class for an encoder-decoder.
            return_dict: whether to return that, or a tuple of what there is.
            values: loss and logits.
        """
        kind = alone if self.encoder is None else seq2seq
        known = {f.name for f in fields(kind)} - set(values)
        told: dict[str, Any] = {**values, **{name: getattr(self, name) for name in known}}
        output = kind(**told)
        return output if return_dict else output.to_tuple()

    def rows(self, cut: Cut) -> Features:
        """The same for some rows."""
        at = None if self.cls_at is None else self.cls_at[cut.rows]
        encoder = self.encoder
        if encoder is not None:
            ends = (0, cut.rows.start, cut.rows.stop, encoder.layout.rows)
            sizes = tuple((after - before) // self.choices for before, after in pairwise(ends))
            encoder = _rows(encoder, encoder.layout.cuts(sizes)[1])
        unembed = None if self.unembed is None else self.unembed.rows(cut)
        return replace(self, last=_rows(self.last, cut), encoder=encoder, cls_at=at, unembed=unembed)


def _rows(output: StackOutput, cut: Cut) -> StackOutput:
    def each(tensors: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
        return None if tensors is None else tuple(t[cut.rows] for t in tensors)

    layout = cut.layout
    assert isinstance(layout, Layout)
    return StackOutput(
        output.hidden[cut.tokens],
        layout,
        each(output.hidden_states),
        each(output.attentions),
        each(output.cross_attentions),
        start=None if output.start is None else output.start[cut.rows],
    )
