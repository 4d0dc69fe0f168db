"""What a model is called with: checked, brought into two dimensions, put in order, laid out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.config import NetworkConfig
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.mask import Mask
from adapterzoo.nn.transformer import StackInput


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a network, as HF names them. Shapes: B rows, T tokens, D width.

    Attributes:
        input_ids: (B, T), or (B, C, T) for C choices of each question.
        attention_mask: (B, T), 1 at tokens and 0 at padding; or (B, T, T), who may look at whom.
        token_type_ids, position_ids: (B, T).
        inputs_embeds: (B, T, D), in place of ids.
        decoder_input_ids, decoder_attention_mask, decoder_inputs_embeds: the same for a decoder.
        encoder_hidden_states: (B, S, D), what cross-attention looks at: an encoder's output computed before.
        encoder_attention_mask: (B, S), its mask.
    """

    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    token_type_ids: Tensor | None = None
    position_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None
    decoder_input_ids: Tensor | None = None
    decoder_attention_mask: Tensor | None = None
    decoder_inputs_embeds: Tensor | None = None
    encoder_hidden_states: Tensor | None = None
    encoder_attention_mask: Tensor | None = None

    @property
    def rows(self) -> int:
        """How many rows, or questions, there are.

        Raises:
            ValueError: there is no input.
        """
        for given in (self.input_ids, self.inputs_embeds, self.decoder_input_ids, self.decoder_inputs_embeds):
            if given is not None:
                return given.size(0)
        if self.encoder_hidden_states is not None:
            return self.encoder_hidden_states.size(0)
        raise ValueError("a model needs input_ids or inputs_embeds")

    def picked(self, order: Tensor) -> Inputs:
        """The same with rows in another order."""
        return self._map(lambda tensor: tensor.index_select(0, order.to(tensor.device)))

    def tiled(self, times: int) -> Inputs:
        """The whole batch so many times, one after the other."""
        return self if times == 1 else self._map(lambda tensor: torch.cat([tensor] * times))

    @property
    def choices(self) -> int:
        """C, where inputs are questions with choices; else 1."""
        return self._questions() or 1

    def flat(self) -> Inputs:
        """Choices as rows of their own: (B, C, T) to (B·C, T)."""
        return self if self._questions() is None else self._map(lambda tensor: tensor.flatten(0, 1))

    def repeated(self, times: int) -> Inputs:
        """Each row as a question with as many equal choices: (B, …) to (B, times, …)."""
        return self._map(lambda tensor: tensor[:, None].expand(-1, times, *tensor.shape[1:]))

    def _questions(self) -> int | None:
        """C, where there is a dimension of choices."""
        ids = (self.input_ids, self.decoder_input_ids)
        vectors = (self.inputs_embeds, self.decoder_inputs_embeds, self.encoder_hidden_states)
        for dims, tensors in ((3, ids), (4, vectors)):
            for tensor in tensors:
                if tensor is not None and tensor.dim() == dims:
                    return tensor.size(1)
        return None

    def _map(self, function: Any) -> Inputs:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: function(value) for name, value in given.items() if value is not None})


def check_values(name: str, values: Tensor | None, count: int, what: str = "") -> None:
    """Check that values are whole numbers from 0 to below `count`: PyTorch's own words do not say what was wrong.

    Args:
        name: what to call them.
        values: the values, if any.
        count: how many there may be.
        what: whose they are, for the message.

    Raises:
        ValueError: they are not; the message holds one that is not.
    """
    if values is None or torch.compiler.is_compiling() or values.is_meta:
        return
    if values.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} must be whole numbers (torch.long), not {values.dtype}")
    low, high = torch.stack(torch.aminmax(values)).tolist()
    if low < 0 or high >= count:
        raise ValueError(f"{name} holds {low if low < 0 else high}, but {what or name} go from 0 to {count - 1}")


def check_mask(name: str, mask: Tensor | None) -> None:
    """Check that a mask is 1 where there is something to see and 0 where not.

    Raises:
        ValueError: it holds something else: it may be one that is added to scores.
    """
    if mask is None or mask.dtype == torch.bool or torch.compiler.is_compiling() or mask.is_meta:
        return
    low, high = torch.stack(torch.aminmax(mask)).tolist()
    if low < 0 or high > 1:
        raise ValueError(f"{name} holds {low if low < 0 else high}; it is 1 at what may be seen and 0 elsewhere")


def stack_input(
    config: NetworkConfig,
    stack: str,
    *,
    ids: Tensor | None,
    embeds: Tensor | None,
    mask: Tensor | None,
    segments: Tensor | None = None,
    positions: Tensor | None = None,
    groups: tuple[int, ...] = (),
    pack: bool = True,
    layout: Layout | None = None,
    past: int = 0,
) -> StackInput:
    """One stack's input, laid out.

    Args:
        config: the network's numbers.
        stack: "encoder" or "decoder".
        ids, embeds: (B, T) or (B, T, D), one of them.
        mask: (B, T) or (B, T, T), 1 or True where there is something to see.
        segments, positions: (B, T).
        groups: sizes of the runs of rows that have an adapter each.
        pack: whether to leave padding out.
        layout: the layout, if it is known already.
        past: how many tokens came before these; the mask says of them, too, who may be seen.

    Raises:
        ValueError: values are out of range, or there are both ids and embeddings, or neither.
    """
    own = "decoder_" if stack == "decoder" and len(config.stacks()) > 1 else ""
    if (ids is None) == (embeds is None):
        raise ValueError(f"give either {own}input_ids or {own}inputs_embeds")
    numbers = config.stacks()[stack]
    check_values(f"{own}input_ids", ids, numbers.vocab, "the vocabulary's ids")
    if numbers.segments:
        check_values("token_type_ids", segments, numbers.segments, "the model's token types")
    if numbers.positions:
        check_values("position_ids", positions, numbers.positions - numbers.position_offset, "the model's positions")
    check_mask(f"{own}attention_mask", mask)
    shape = ids if ids is not None else embeds
    assert shape is not None
    rows, length = shape.shape[:2]
    seen = None if mask is None else mask.bool()
    flat = seen if seen is not None and seen.dim() == 2 else None
    if past:  # the layout is that of the new tokens, the mask that of all
        layout = Layout(rows, length, None if flat is None else flat[:, past:], False, groups)
        keys = seen
    else:
        layout = layout or Layout.of(rows, length, flat, pack, groups)
        keys = layout.mask if seen is None or seen.dim() == 2 else seen
    # A mask that says who may look at whom says it all, as in HF.
    causal = numbers.causal and (seen is None or seen.dim() == 2)
    return StackInput(layout, Mask(keys, causal), ids, embeds, segments if numbers.segments else None, positions)


def decoder_start(config: Any, starts_with_last: bool, ids: Tensor) -> Tensor:
    """A decoder's input from what it should say: [start, x₀, …, x_{T-2}], -100 replaced by padding.

    Args:
        config: the model's config.
        starts_with_last: whether each row's last token that is no padding is its start (mBART's language).
        ids: (B, T).

    Raises:
        ValueError: the config has no `decoder_start_token_id`, and it is needed.
    """
    pad = config.pad_token_id
    if starts_with_last:
        ids = ids.masked_fill(ids == -100, pad)
        start = ids.gather(1, ((ids != pad).sum(1, keepdim=True) - 1).clamp(min=0))
        return torch.cat([start, ids[:, :-1]], 1)
    if config.decoder_start_token_id is None:
        raise ValueError("the config has no decoder_start_token_id, which the decoder's input starts with")
    shifted = torch.cat([ids.new_full((ids.size(0), 1), config.decoder_start_token_id), ids[:, :-1]], 1)
    return shifted.masked_fill(shifted == -100, pad)


def last_eos(ids: Tensor | None, eos: int | None) -> Tensor | None:
    """Where each row's last `eos` is, (B,); None if a row has none, or there are no ids.

    In a graph for any batch, which cannot look, every row is taken to have one.
    """
    if ids is None or eos is None:
        return None
    found = ids == eos
    if not torch.compiler.is_compiling() and not bool(found.any(1).all()):
        return None
    return ids.size(1) - 1 - found.flip(1).int().argmax(1)
