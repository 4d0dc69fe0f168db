"""What a decoder goes on from: the prompt's ids, and the inputs beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.registry import listing
from adapterzoo.generation.config import GenerationConfig
from adapterzoo.generation.rules import as_list, padding_token
from adapterzoo.input_checks import checked
from adapterzoo.inputs import Inputs

INPUTS = {f.name for f in fields(Inputs)}
"""The names of a network's inputs."""


@dataclass(frozen=True)
class Prompt:
    """What a decoder goes on from. Shapes: B inputs, T tokens of the prompt, S tokens of an encoder's input.

    Attributes:
        ids: (B, T), the prompt.
        source: (B, S), the encoder's ids, or the prompt where there is no encoder.
        inputs: the other inputs.
    """

    ids: Tensor
    source: Tensor
    inputs: Inputs

    @property
    def mask(self) -> Tensor | None:
        """(B, T), 0 at the prompt's padding."""
        return self.inputs.decoder_attention_mask if self.source is not self.ids else self.inputs.attention_mask

    def tiled(self, times: int) -> Prompt:
        """The whole batch so many times, one after the other."""
        if times == 1:
            return self
        ids = torch.cat([self.ids] * times)
        source = ids if self.source is self.ids else torch.cat([self.source] * times)
        return Prompt(ids, source, self.inputs.tiled(times))

    def check_room(self, numbers: NetworkConfig, most: int) -> None:
        """Check that the model has positions for sequences of `most` tokens; it never reads the last one.

        Raises:
            ValueError: it has not.
        """
        last, read, given = numbers.last, most - 1, self.inputs.position_ids
        if len(numbers.stacks()) == 1 and given is not None:
            read += int(given.max()) + 1 - self.ids.size(1)
        elif numbers.decoder is None and self.inputs.attention_mask is not None:
            read -= int((self.inputs.attention_mask == 0).sum(1).min())
        room = last.room if numbers.decoder is not None else last.positions - last.position_offset
        if last.positions and room is not None and read > room:
            raise ValueError(f"a sequence may have {most} tokens, but the model has positions for {room}")


def prompt_of(
    inputs: Inputs, config: GenerationConfig, numbers: NetworkConfig, name: str, device: torch.device
) -> Prompt:
    """The prompt in what `generate` was called with.

    Args:
        inputs: what it was called with.
        config: the options.
        numbers: the network's.
        name: the model's class, for messages.
        device: where the model is.

    Raises:
        TypeError: there are inputs that generation cannot go on from.
        ValueError: inputs do not fit the model or each other, or there is no token to begin with.
    """
    two = len(numbers.stacks()) == 2
    refused = ["decoder_inputs_embeds"] if two else ["inputs_embeds"]
    given = [field for field in refused if getattr(inputs, field) is not None]
    if given:
        raise TypeError(f"{name}.generate goes on from a prompt of ids, and takes no {listing(given)}")
    inputs = checked(_begun(inputs, config, two, device), numbers, name)
    if inputs.input_ids is not None and inputs.input_ids.dim() == 3:
        raise ValueError(f"{name}.generate takes rows, not questions with choices: input_ids have 3 dimensions")
    inputs = replace(inputs, attention_mask=_seen(inputs, config))
    prompt = _after_start(inputs, config) if two else _alone(inputs)
    mask = prompt.mask
    if any(given is not None and given.dim() == 3 for given in (mask, inputs.attention_mask)):
        raise ValueError(f"{name}.generate takes masks of shape (rows, tokens), not of each pair of tokens")
    if mask is not None and not bool(mask[:, -1].bool().all()):
        row = int((mask[:, -1] == 0).nonzero()[0, 0])
        raise ValueError(f"row {row} of the prompt ends with padding; pad prompts on the left")
    return prompt


def _begun(inputs: Inputs, config: GenerationConfig, two: bool, device: torch.device) -> Inputs:
    """With a first token, where there are no ids."""
    there = [inputs.input_ids, *([inputs.inputs_embeds, inputs.encoder_hidden_states] if two else [])]
    if any(given is not None for given in there):
        return inputs
    if config.bos_token_id is None:
        raise ValueError("generate needs input_ids, or a bos_token_id to begin with")
    rows = 1 if inputs.encoder_hidden_states is None else inputs.encoder_hidden_states.size(0)
    return replace(inputs, input_ids=torch.full((rows, 1), config.bos_token_id, device=device))


def _seen(inputs: Inputs, config: GenerationConfig) -> Tensor | None:
    """The mask of `input_ids`; where none is given, padding is told by its token, unless that is an end, too."""
    ids, padding = inputs.input_ids, padding_token(config)
    if inputs.attention_mask is not None or ids is None or padding is None or padding in as_list(config.eos_token_id):
        return inputs.attention_mask
    mask = (ids != padding).long()
    return None if bool(mask.all()) else mask


def _alone(inputs: Inputs) -> Prompt:
    assert inputs.input_ids is not None
    return Prompt(inputs.input_ids, inputs.input_ids, replace(inputs, input_ids=None))


def _after_start(inputs: Inputs, config: GenerationConfig) -> Prompt:
    """A decoder's prompt, which begins with the start's token."""
    start = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    if start is None:
        raise ValueError("generate needs a decoder_start_token_id, or a bos_token_id to begin with")
    ids, mask, rows = inputs.decoder_input_ids, inputs.decoder_attention_mask, inputs.rows
    source = inputs.input_ids
    device = next(t for t in (source, inputs.inputs_embeds, inputs.encoder_hidden_states) if t is not None).device
    first = torch.full((rows, 1), start, device=device)
    if ids is None:
        ids = first
    elif bool((ids[:, 0] != start).all()):
        ids = torch.cat([first, ids], 1)
        mask = None if mask is None else torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
    rest = replace(inputs, decoder_input_ids=None, decoder_attention_mask=mask)
    return Prompt(ids, ids.new_empty(rows, 0) if source is None else source, rest)


def split_inputs(given: Mapping[str, Any]) -> tuple[Inputs, dict[str, Any]]:
    """What `generate` was called with: the network's inputs, and options. What is None is not there, for inputs.

    `encoder_outputs` are an encoder's output computed before, as for the model's forward.
    """
    inputs = {name: value for name, value in given.items() if name in INPUTS}
    options = {name: value for name, value in given.items() if name not in INPUTS}
    if options.get("inputs") is not None and inputs.get("input_ids") is None:
        inputs["input_ids"] = options.pop("inputs")  # what HF's first argument is called
    encoded = options.pop("encoder_outputs", None)
    if encoded is not None:
        inputs["encoder_hidden_states"] = encoded[0]
        inputs.setdefault("encoder_attention_mask", inputs.get("attention_mask"))
    return Inputs(**inputs), options
