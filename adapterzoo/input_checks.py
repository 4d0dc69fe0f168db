"""What a model may be called with: kinds and shapes of its inputs, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

from torch import Tensor

from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.registry import listing
from adapterzoo.inputs import Inputs

SOURCES = {
    "input_ids": ("", 1),
    "inputs_embeds": ("", 2),
    "decoder_input_ids": ("decoder", 1),
    "decoder_inputs_embeds": ("decoder", 2),
    "encoder_hidden_states": ("memory", 2),
}
"""What brings tokens: whose, and how many dimensions follow those of the rows."""

COMPANIONS = {
    "attention_mask": "",
    "token_type_ids": "",
    "position_ids": "",
    "decoder_attention_mask": "decoder",
    "encoder_attention_mask": "memory",
}
"""What comes with tokens: with whose."""

PAIRWISE = ("attention_mask", "decoder_attention_mask")
"""What may also say of each pair of tokens what it says of each token."""


def checked(inputs: Inputs, network: NetworkConfig, name: str, past: int = 0) -> Inputs:
    """The inputs, with what was given once for all rows spread over them.

    Args:
        inputs: what the model was called with.
        network: its numbers.
        name: its class's name.
        past: how many tokens of the last stack came in earlier calls; its mask says of them, too.

    Raises:
        TypeError: an input is no tensor, or is for a part that the model does not have.
        ValueError: shapes do not fit each other or the model; all that do not are told.
    """
    given = {f.name: value for f in fields(inputs) if (value := getattr(inputs, f.name)) is not None}
    wrong = [f"{key} is a {type(value).__name__}" for key, value in given.items() if not isinstance(value, Tensor)]
    if wrong:
        raise TypeError(f"{name} takes tensors, but {' and '.join(wrong)}")
    _check_parts(given, network, name)
    rows = _rows(given)
    lengths = {whose: _dim(given[key], len(rows)) for key, (whose, _) in SOURCES.items() if key in given}
    lengths.setdefault("decoder", lengths.get(""))  # without input of its own, the decoder gets the encoder's
    problems = list(_wrong_sources(given, rows, _widths(network)))
    whose_past = "decoder" if len(network.stacks()) == 2 else ""
    spread = {}
    for key, whose in COMPANIONS.items():
        length = lengths.get(whose)
        if key not in given or length is None:
            continue
        length += past if whose == whose_past and key in PAIRWISE else 0
        shape, shapes = tuple(given[key].shape), [(*rows, length)]
        shapes += [(*rows, length, length)] if key in PAIRWISE else []
        fitting = [one for one in shapes if shape in (one, (1, *one[1:]))]
        if not fitting:
            problems.append(f"{key} has shape {shape}, but must have {' or '.join(map(str, shapes))}")
        elif shape != fitting[0]:
            spread[key] = given[key].expand(fitting[0])
    if problems:
        raise ValueError(f"{name}: " + "; ".join(problems))
    return replace(inputs, **spread) if spread else inputs


def _check_parts(given: Mapping[str, Tensor], network: NetworkConfig, name: str) -> None:
    stacks = network.stacks()
    lost = [key for key in given if key.startswith("decoder_")] if len(stacks) < 2 else []
    if lost:
        raise TypeError(f"{name} is one stack, whose input is input_ids; it takes no {listing(lost)}")
    lost = [key for key in given if key.startswith("encoder_")]
    if lost and not any(stack.cross for stack in stacks.values()):
        raise TypeError(f"{name} has no cross-attention, and takes no {listing(lost)}")


def _rows(given: Mapping[str, Tensor]) -> tuple[int, ...]:
    """(rows,) or (questions, choices), told by the first of the inputs that bring tokens."""
    for key, (_, more) in SOURCES.items():
        if key in given:
            shape = tuple(given[key].shape)
            if len(shape) - more not in (1, 2):
                what = "tokens" if more == 1 else "tokens, width"
                raise ValueError(f"{key} must have shape (rows, {what}) or (questions, choices, {what}), not {shape}")
            return shape[:-more]
    raise ValueError("a model needs input_ids or inputs_embeds")


def _dim(tensor: Tensor, dim: int) -> int | None:
    return tensor.size(dim) if tensor.dim() > dim else None


def _widths(network: NetworkConfig) -> dict[str, int]:
    """The width of each kind of vectors that may be given, by whose they are."""
    return {"": network.first.token_width, "decoder": network.last.token_width, "memory": network.first.width}


def _wrong_sources(given: Mapping[str, Tensor], rows: tuple[int, ...], widths: Mapping[str, int]) -> Iterator[str]:
    for key, (whose, more) in SOURCES.items():
        if key not in given:
            continue
        shape = tuple(given[key].shape)
        wanted = (*rows, _dim(given[key], len(rows)), widths[whose])[: len(rows) + more]
        if shape != wanted:
            yield f"{key} has shape {shape}, but must have {wanted}"
        elif 0 in shape:
            yield f"{key} is empty: its shape is {shape}"
