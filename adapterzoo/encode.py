"""From inputs to features: both stacks, laid out and run under one plan."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from adapterzoo.core.run import Run
from adapterzoo.heads.features import Features, Unembed
from adapterzoo.host import Host
from adapterzoo.inputs import Inputs, check_mask, decoder_start, last_eos, stack_input
from adapterzoo.nn.attention import Mask, Memory
from adapterzoo.nn.cache import Cache
from adapterzoo.nn.layout import Layout
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
        inputs: the inputs, rows with the same adapter together; repeated as often as the plan says.
        plan: what is active.
        groups: sizes of the runs of rows (or questions) that have an adapter each.
        keep_hidden: whether to keep every layer's output.
        keep_attention: whether to keep attention probabilities.
        cache: the keys and values of the last stack's tokens before these, to be extended.
    """
    choices, flat = inputs.choices, inputs.flat()
    run, stacks = plan.start(), model.base.config.stacks()

    def forward(stack: str, given: StackInput, memory: Memory | None = None) -> StackOutput:
        for layout in [given.layout] if memory is None else [given.layout, memory.layout]:
            layout.choices = choices
            plan.cut(layout)
        past = cache if stack == model.base.config.last_stack else None
        output: StackOutput = model.base(stack, given, run, memory, keep_hidden, keep_attention, past)
        return output

    if len(stacks) == 2:
        encoder, last = _both(model, flat, groups, forward, cache)
    else:
        stack = next(iter(stacks))
        memory = _memory(model, flat, groups) if stacks[stack].cross else None
        encoder, last = None, forward(stack, _lone_input(model, stack, flat, groups, cache), memory)
    last, encoder = last.trimmed(), None if encoder is None else encoder.trimmed()
    same = encoder is not None and encoder.layout.length == last.layout.length
    eos = last_eos(flat.input_ids, model.config.eos_token_id) if same else None
    return Features(
        last=last,
        pool=model.base.pooled,
        encoder=encoder,
        cls_at=eos,
        choices=choices,
        copies=plan.copies,
        cache=cache,
        unembed=Unembed.of(run, model.base.config.last_stack, last.layout, last.hidden),
    )


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
        plan.cut(given.layout)
        output: StackOutput = model.base("encoder", given, run)
        hidden, mask = output.layout.grid(output.hidden), output.layout.mask
    seen = Inputs(encoder_hidden_states=hidden, encoder_attention_mask=mask).repeated(rows).flat()
    memory = _memory(model, seen, groups)
    if memory is None or not model.base.config.last.cross:
        return None
    memory.layout.choices = rows
    plan.cut(memory.layout)
    return memory._replace(hidden=model.base.remembered(memory.hidden)) if two else memory


def decode(
    model: Host,
    inputs: Inputs,
    plan: Plan,
    run: Run,
    groups: tuple[int, ...] = (),
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
        memory: what cross-attention looks at.
        cache: the keys and values of the tokens before these, to be extended.
    """
    stack, flat = model.base.config.last_stack, inputs.flat()
    if memory is not None and len(model.base.config.stacks()) == 2:
        given = _decoder_input(model, flat, groups, memory.layout, cache)
    else:
        given = _lone_input(model, stack, flat, groups, cache)
    given.layout.choices = inputs.choices
    plan.cut(given.layout)
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


def _both(
    model: Host, inputs: Inputs, groups: tuple[int, ...], forward: Callable[..., StackOutput], cache: Cache | None
) -> tuple[StackOutput, StackOutput]:
    memory = _memory(model, inputs, groups)
    if memory is None:
        encoder = forward("encoder", _lone_input(model, "encoder", inputs, groups))
        memory = Memory(encoder.hidden, encoder.layout, Mask(encoder.layout.mask))
    else:
        encoder = StackOutput(memory.hidden, memory.layout)
    memory = memory._replace(hidden=model.base.remembered(memory.hidden))
    return encoder, forward("decoder", _decoder_input(model, inputs, groups, encoder.layout, cache), memory)


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
    return mask is not None and mask.dim() == 2 and bool((mask[:, 1:] <= mask[:, :-1]).all())
