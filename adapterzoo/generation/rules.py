"""From options to what a run follows: its lengths, its ends, and what changes its scores."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from adapterzoo.generation import drawing
from adapterzoo.generation.config import GenerationConfig, TokenIds
from adapterzoo.generation.processors import (
    Chain,
    Forced,
    LengthDecay,
    MinLength,
    NoBadWords,
    NoRepeatNGram,
    NoRepeatSourceNGram,
    Processor,
    RepetitionPenalty,
    Suppressed,
    finite,
    normalised,
)
from adapterzoo.generation.steps import Ends


def as_list(tokens: TokenIds) -> list[int]:
    """One token, several, or none, as a list."""
    if tokens is None:
        return []
    return [tokens] if isinstance(tokens, int) else list(tokens)


def padding_token(config: GenerationConfig) -> int | None:
    """The padding token: its own, or the end's."""
    ends = as_list(config.eos_token_id)
    return ends[0] if config.pad_token_id is None and ends else config.pad_token_id


def check_tokens(config: GenerationConfig, vocabulary: int) -> None:
    """Check that all tokens that the options name are in the vocabulary.

    Raises:
        ValueError: some are not; all are told.
    """
    words = [token for word in config.bad_words_ids or () for token in word]
    named = {
        **{name: as_list(value) for name, value in config.options().items() if name.endswith("_token_id")},
        "suppress_tokens": config.suppress_tokens or [],
        "begin_suppress_tokens": config.begin_suppress_tokens or [],
        "bad_words_ids": words,
    }
    wrong = [f"{name} holds {max(ids)}" for name, ids in named.items() if ids and max(ids) >= vocabulary]
    if wrong:
        raise ValueError(f"{' and '.join(wrong)}, but the vocabulary's ids go from 0 to {vocabulary - 1}")


def longest(config: GenerationConfig, prompt: int, positions: int | None) -> int:
    """Tokens of a sequence at most.

    Args:
        config: the options.
        prompt: tokens of the prompt.
        positions: tokens that the model was made for, by its config; where no length was asked for, it is kept.

    Raises:
        ValueError: there is no room for a token after the prompt.
    """
    if config.max_new_tokens is not None:
        return prompt + config.max_new_tokens
    most = config.max_length
    if most == GenerationConfig.max_length:  # that default is about new tokens, as in HF
        most = min(prompt + most, prompt + most if positions is None else positions)
    if prompt >= most:
        raise ValueError(
            f"the prompt has {prompt} tokens, but max_length is {most}, the prompt's included; max_new_tokens counts "
            "the new ones alone"
        )
    return most


def shortest(config: GenerationConfig, prompt: int) -> int:
    """Tokens of a sequence at least."""
    return config.min_length if config.min_new_tokens is None else prompt + config.min_new_tokens


def check_shortest(config: GenerationConfig, prompt: int, most: int) -> None:
    """Check that sequences may be as long as they must be.

    Raises:
        ValueError: they may not.
    """
    if shortest(config, prompt) > most:
        name = "min_length" if config.min_new_tokens is None else "min_new_tokens"
        raise ValueError(
            f"{name} is {getattr(config, name)}, but at most {most} tokens fit, {prompt} of them the prompt's"
        )


def ends_of(config: GenerationConfig, most: int, device: torch.device) -> Ends:
    """When sequences end."""
    tokens, padding = as_list(config.eos_token_id), padding_token(config)
    if config.num_beams > 1 and tokens:
        padding = padding or tokens[0]  # as in HF, whose beams take a padding token 0 for none
    return Ends(torch.tensor(tokens, device=device) if tokens else None, padding or 0, most)


def processors(config: GenerationConfig, ends: Ends, prompt: int, source: Tensor) -> Chain:
    """What the options do to scores, in HF's order.

    Args:
        config: the options.
        ends: when sequences end.
        prompt: tokens of the prompt.
        source: (B, S), the encoder's ids, or the prompt where there is no encoder.
    """
    return Chain([*_changes(config, ends, prompt, source), *_draws(config, ends), *_last(config)])


def _changes(config: GenerationConfig, ends: Ends, prompt: int, source: Tensor) -> Iterator[Processor]:
    if config.repetition_penalty != 1:
        yield RepetitionPenalty(config.repetition_penalty)
    if config.no_repeat_ngram_size:
        yield NoRepeatNGram(config.no_repeat_ngram_size)
    if config.encoder_no_repeat_ngram_size:
        yield NoRepeatSourceNGram(config.encoder_no_repeat_ngram_size, source)
    if config.bad_words_ids is not None:
        yield NoBadWords(config.bad_words_ids, ends.tokens)
    least = shortest(config, prompt)
    if least and ends.tokens is not None:
        yield MinLength(least, ends.tokens)
    if config.forced_bos_token_id is not None:
        yield Forced(1, [config.forced_bos_token_id])
    if config.forced_eos_token_id is not None:
        yield Forced(ends.max_length - 1, as_list(config.forced_eos_token_id))
    if config.remove_invalid_values:
        yield finite
    if config.exponential_decay_length_penalty is not None and ends.tokens is not None:
        start, factor = config.exponential_decay_length_penalty
        yield LengthDecay(prompt + int(start), factor, ends.tokens)
    if config.suppress_tokens is not None:
        yield Suppressed(config.suppress_tokens)
    if config.begin_suppress_tokens is not None:
        forced = prompt == 1 and config.forced_bos_token_id is not None  # the first that is free is the next one
        yield Suppressed(config.begin_suppress_tokens, prompt + forced)


def _draws(config: GenerationConfig, ends: Ends) -> Iterator[Processor]:
    if not config.do_sample:
        return
    count = 1 if ends.tokens is None else len(ends.tokens)
    keep = count + 1 if config.num_beams > 1 else 1  # beams need something to go on with
    if config.temperature != 1:
        yield drawing.Temperature(config.temperature)
    if config.top_k:
        yield drawing.TopK(config.top_k, keep)
    if config.top_p is not None and config.top_p < 1:
        yield drawing.TopP(config.top_p, keep)
    if config.min_p is not None:
        yield drawing.MinP(config.min_p, keep)
    if config.typical_p is not None and config.typical_p < 1:
        yield drawing.Typical(config.typical_p, keep)


def _last(config: GenerationConfig) -> Iterator[Processor]:
    if config.renormalize_logits:
        yield normalised
