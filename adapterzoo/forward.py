"""From inputs to features: both stacks, laid out and run under one plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from adapterzoo.core.run import Run
from adapterzoo.core.sites import OUTSIDE
from adapterzoo.heads.features import Features, Unembed
from adapterzoo.host import Host
from adapterzoo.inputs import Inputs, check_mask, decoder_start, last_eos, stack_input
from adapterzoo.nn.attention import Memory, tiled
from adapterzoo.nn.cache import Cache
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.mask import Mask
from adapterzoo.nn.transformer import StackInput, StackOutput
from adapterzoo.plan import Plan


def encode(
    model: Host,
    inputs: Inputs,
    plan: Plan,
    groups: tuple[int, ...] = (),
    keep_hidden: bool = False,
    keep_attention: bool = False,
    cache: Cache | None = None,
) -> Features:
    """Run a model's network.

    Args:
        model: whose network.
        inputs: the inputs, rows with the same adapter together.
        plan: what is active.
        groups: sizes of the runs of rows (or questions) that have an adapter each.
        keep_hidden: whether to keep every layer's output.
        keep_attention: whether to keep attention probabilities.
        cache: the keys and values of the last stack's tokens before these, to be extended.
    """
    run, last_stack = plan.start(), model.base.config.last_stack
    passes = _passes(model, inputs, plan, groups, cache)

    def forward(stack: str, given: StackInput, memory: Memory | None = None) -> StackOutput:
        past = cache if stack == last_stack else None
        output: StackOutput = model.base(stack, given, run, memory, keep_hidden, keep_attention, past)
        return output

    encoder, memory = _remembered(model, passes, forward)
    if memory is not None and passes.wide is None:
        plan.cut(last_stack, passes.layout, memory.layout)
    last = forward(last_stack, *passes.looking_at(memory)).trimmed()
    encoder = None if encoder is None else passes.copied(encoder.trimmed())
    same = encoder is None or encoder.layout.length == last.layout.length
    reads_end = model.base.config.decoder is not None
    eos = last_eos(inputs.flat().input_ids, model.config.eos_token_id) if reads_end and same else None
    return Features(
        last=last,
        pool=model.base.pooled,
        encoder=encoder,
        reads_end=reads_end,
        cls_at=None if eos is None else tiled(eos, plan.copies),
        choices=inputs.choices,
        copies=plan.copies,
        cache=cache,
        unembed=Unembed.of(run, last_stack, last.layout, last.hidden),
        notes=run.notes,
    )


class Passes(NamedTuple):
    """What goes into the stacks: in copies of the batch, where the plan asks for these, from the first layer on where
    something acts.

    Attributes:
        own: the last stack's input.
        first: the encoder's under a decoder, if it runs.
        memory: what the caller gave to look at.
        copies: how many there are.
        wide: how the copies lie of what is looked at; None if it comes in copies.
    """

    own: StackInput
    first: StackInput | None
    memory: Memory | None
    copies: int
    wide: Layout | None

    @property
    def layout(self) -> Layout:
        """How the last stack's tokens lie in the end."""
        return self.own.layout if self.own.repeat is None else self.own.repeat.layout

    def looking_at(self, memory: Memory | None) -> tuple[StackInput, Memory | None]:
        """The last stack's input, and what it looks at."""
        if memory is None or self.wide is None:
            copied = memory
        else:
            copied = Memory(tiled(memory.hidden, self.copies), self.wide, Mask(self.wide.mask))
        repeat = self.own.repeat
        if repeat is None:
            return self.own, copied
        return self.own._replace(repeat=repeat._replace(memory=copied)), memory if repeat.at else copied

    def copied(self, encoder: StackOutput) -> StackOutput:
        """An encoder's output in copies."""
        return encoder if self.wide is None else encoder.tiled(self.copies)._replace(layout=self.wide)


def _passes(model: Host, inputs: Inputs, plan: Plan, groups: tuple[int, ...], cache: Cache | None) -> Passes:
    """The stacks' inputs, cut as the plan will cut them: what does not fit is refused before anything runs."""
    config, flat, copies = model.base.config, inputs.flat(), plan.copies
    stacks, last, first = config.stacks(), config.last_stack, None
    memory = _memory(model, flat, groups) if config.last.cross else None
    if len(stacks) == 2:
        first = _lone_input(model, "encoder", flat, groups) if memory is None else None
        seen = (first or memory).layout  # type: ignore[union-attr]  # one of the two is there
        own = _decoder_input(model, flat, groups, seen, cache)
    else:
        seen = None if memory is None else memory.layout
        own = _lone_input(model, last, flat, groups, cache)
    for layout in (own.layout, *([] if seen is None else [seen])):
        layout.choices = inputs.choices
    touched = first is not None and plan.bottoms["encoder"] < stacks["encoder"].layers
    at = OUTSIDE if cache is not None else min(plan.bottoms[last], 0 if touched else stacks[last].layers)
    if first is not None and touched:
        first = _in_copies(first, copies, plan.bottoms["encoder"])
        plan.cut("encoder", first.layout if first.repeat is None else first.repeat.layout)
    wide = None if touched or seen is None else seen.tiled(copies)
    passes = Passes(_in_copies(own, copies, at), first, memory, copies, wide)
    plan.cut(last, passes.layout, wide)
    return passes


def _in_copies(given: StackInput, copies: int, at: int) -> StackInput:
    """A stack's input, repeated before a layer, or right away if that is none."""
    if copies == 1:
        return given
    return given.tiled(copies) if at == OUTSIDE else given.repeated(at, copies)


def _remembered(
    model: Host, passes: Passes, forward: Callable[..., StackOutput]
) -> tuple[StackOutput | None, Memory | None]:
    """The encoder's output under a decoder, and what cross-attention looks at."""
    memory = passes.memory
    if passes.first is not None:
        encoder = forward("encoder", passes.first)
        memory = Memory(encoder.hidden, encoder.layout, Mask(encoder.layout.mask))
    elif memory is None or len(model.base.config.stacks()) == 1:
        return None, memory
    else:
        encoder = StackOutput(memory.hidden, memory.layout)
    return encoder, memory._replace(hidden=model.base.remembered(memory.hidden))


def memory_of(
    model: Host, inputs: Inputs, plan: Plan, run: Run, groups: tuple[int, ...] = (), rows: int = 1
) -> Memory | None:
    """What a decoder that goes on token by token looks at: an encoder's output, run if it is not given.

    Args:
        model: whose network.
        inputs: the inputs, rows with the same adapter together; repeated as often as the plan says.
        plan: what is active.
        run: its run.
        groups: sizes of the runs of inputs that have an adapter each.
        rows: how many rows of the decoder look at each input's output.
    """
    two = len(model.base.config.stacks()) == 2
    hidden, mask = inputs.encoder_hidden_states, inputs.encoder_attention_mask
    if two and hidden is None:
        given = _lone_input(model, "encoder", inputs, groups)
        given.layout.copies = plan.copies
        plan.cut("encoder", given.layout)
        output: StackOutput = model.base("encoder", given, run)
        hidden, mask = output.layout.grid(output.hidden), output.layout.mask
    seen = Inputs(encoder_hidden_states=hidden, encoder_attention_mask=mask)
    rows = rows if plan.acts_at("cross.kv") else 1  # what acts there sees keys of its own for each row
    memory = _memory(model, seen.repeated(rows).flat() if rows > 1 else seen, groups)
    if memory is None or not model.base.config.last.cross:
        return None
    memory.layout.choices, memory.layout.copies = rows, plan.copies
    plan.cut(model.base.config.last_stack, memory.layout)
    return memory._replace(hidden=model.base.remembered(memory.hidden)) if two else memory


def decode(
    model: Host,
    inputs: Inputs,
    plan: Plan,
    run: Run,
    groups: tuple[int, ...] = (),
    rows: int = 1,
    memory: Memory | None = None,
    cache: Cache | None = None,
) -> StackOutput:
    """Run the last stack alone. Arguments as for `encode` and `memory_of`.

    Args:
        model: whose network.
        inputs: the last stack's inputs, those of an encoder's left out.
        plan: what is active.
        run: its run.
        groups: sizes of the runs of inputs that have an adapter each.
        rows: how many consecutive rows there are for each of these.
        memory: what cross-attention looks at.
        cache: the keys and values of the tokens before these, to be extended.
    """
    stack = model.base.config.last_stack
    if memory is not None and len(model.base.config.stacks()) == 2:
        given = _decoder_input(model, inputs, groups, memory.layout, cache)
    else:
        given = _lone_input(model, stack, inputs, groups, cache)
    given.layout.choices, given.layout.copies = rows, plan.copies
    plan.cut(stack, given.layout)
    output: StackOutput = model.base(stack, given, run, memory, cache=cache)
    return output.trimmed()


def _lone_input(
    model: Host, stack: str, inputs: Inputs, groups: tuple[int, ...], cache: Cache | None = None
) -> StackInput:
    return stack_input(
        model.base.config,
        stack,
        ids=inputs.input_ids,
        embeds=inputs.inputs_embeds,
        mask=inputs.attention_mask,
        segments=inputs.token_type_ids,
        positions=inputs.position_ids,
        groups=groups,
        pack=model.padding_free and cache is None,
        past=0 if cache is None else cache.length,
    )


def _memory(model: Host, inputs: Inputs, groups: tuple[int, ...]) -> Memory | None:
    """What cross-attention looks at, if the caller gives it."""
    hidden = inputs.encoder_hidden_states
    if hidden is None:
        return None
    check_mask("encoder_attention_mask", inputs.encoder_attention_mask)
    mask = None if inputs.encoder_attention_mask is None else inputs.encoder_attention_mask.bool()
    layout = Layout.of(hidden.size(0), hidden.size(1), mask, model.padding_free, groups)
    return Memory(layout.tokens(hidden), layout, Mask(layout.mask))


def _decoder_input(
    model: Host, inputs: Inputs, groups: tuple[int, ...], encoder: Layout, cache: Cache | None
) -> StackInput:
    ids, mask, layout = inputs.decoder_input_ids, inputs.decoder_attention_mask, None
    if ids is None and inputs.decoder_inputs_embeds is None:
        ids = _from_encoder_ids(model, inputs.input_ids)
        if mask is None and cache is None and _padded_at_the_end(inputs.attention_mask):
            # The same tokens, one to the right: causal, so padding at the end may be left out here as well.
            # Elsewhere it may not: the decoder looks back at it, as in HF.
            mask, layout = inputs.attention_mask, encoder
    return stack_input(
        model.base.config,
        "decoder",
        ids=ids,
        embeds=inputs.decoder_inputs_embeds,
        mask=mask,
        groups=groups,
        pack=model.padding_free and cache is None,
        layout=layout if layout is not None and layout.packed else None,
        past=0 if cache is None else cache.length,
    )


def _from_encoder_ids(model: Host, ids: Tensor | None) -> Tensor:
    if ids is None:
        raise ValueError("without input_ids the decoder needs decoder_input_ids or decoder_inputs_embeds")
    return decoder_start(model.config, model.architecture.starts_with_last, ids)


def _padded_at_the_end(mask: Tensor | None) -> bool:
    """Whether all padding is at rows' ends. In a graph for any batch, which cannot look, it is taken to be there."""
    if mask is None or mask.dim() != 2:
        return False
    return torch.compiler.is_compiling() or bool((mask[:, 1:] <= mask[:, :-1]).all())
