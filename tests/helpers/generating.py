"""Generation in tests: models that generate, options, and what transformers generates."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from adapterzoo.heads import HEADS
from tests.helpers.batches import Batch, batch_for
from tests.helpers.heads import add_head, head_types
from tests.helpers.hf_models import CASES, Case, pair
from tests.helpers.tiny import decoders, tiny_decoder

GENERATES = [case for case in CASES if case.head_type and getattr(HEADS[case.head_type], "generates", False)]
"""The classes whose head says the next token."""

PROMPT = 4
TOKENS = 79
"""Ids below this are in every vocabulary, of encoders and of decoders."""

ENDS = [5, 11, 17, 23, 42, 64, 75]
"""Enough tokens that some sequences end early, and others not."""


@cache
def generating_pair(case: Case, seed: int = 0) -> tuple[Any, Any]:
    """Transformers' model and ours, as decoders, with weights so large that each step has its own likeliest token."""
    changes = {"is_decoder": True} if case.alone else {}
    with torch.random.fork_rng(), TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        torch.manual_seed(seed)
        return pair(case, Path(folder), **changes)


def prompt_for(case: Case, config: Any, rows: int = 3) -> dict[str, Tensor]:
    """Inputs of several lengths: an encoder's padded on the right, prompts on the left."""
    length = PROMPT + 2 * seq2seq(case)
    lengths = torch.tensor([length, length - 2, length - 1, 1][:rows])[:, None]
    places = torch.arange(length)[None]
    mask = places < lengths if seq2seq(case) else places >= length - lengths
    ids = torch.randint(4, TOKENS, (rows, length)).masked_fill(~mask, config.pad_token_id)
    return {"input_ids": ids, "attention_mask": mask.long()}


def seq2seq(case: Case) -> bool:
    """Whether the class has an encoder beside its decoder."""
    return case.head_type == "seq2seq_lm"


def theirs(model: Any, inputs: Mapping[str, Any], options: Mapping[str, Any], seed: int = 0) -> Any:
    """What transformers generates, by a random state of its own.

    Without a cache: its own counts the encoder's layers, and fails in a decoder that has more.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model.generate(**inputs, **{**options, "use_cache": False})


BANNING = {
    *("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids"),
    *("forced_bos_token_id", "forced_eos_token_id"),
}
"""What may forbid an end."""


def draw_options(number: int, sampling: bool = False) -> dict[str, Any]:
    """Random options: half of the choices are left as they are by default.

    Args:
        number: which draw; the same gives the same.
        sampling: whether to draw tokens.
    """
    chance = random.Random(number)
    beams = chance.choice([1, 1, 2, 3, 4])
    new = chance.randint(1, 12)
    choices: dict[str, list[Any]] = {
        "min_length": [0, min(3, 1 + new)],
        "min_new_tokens": [None, 1, min(4, new)],
        "no_repeat_ngram_size": [0, 1, 2, 3],
        "encoder_no_repeat_ngram_size": [0, 1, 2],
        "repetition_penalty": [0.7, 1.3, 2.5],
        "bad_words_ids": [[[7], [8, 9]], [[n] for n in range(30, 60)]],
        "suppress_tokens": [list(range(60, TOKENS))],
        "begin_suppress_tokens": [list(range(4, 50))],
        "forced_bos_token_id": [6],
        "forced_eos_token_id": [None, 2, [11, 17]],
        "exponential_decay_length_penalty": [(2, 1.1)],
        "renormalize_logits": [True],
        "use_cache": [True],
        "eos_token_id": [None, 2, 11, ENDS, list(range(2, 60, 3))],
        "pad_token_id": [0, 1, 3],
    }
    if beams > 1:
        choices |= {
            "early_stopping": [True, False, "never"],
            "length_penalty": [0.0, 0.6, 2.0, -1.0],
            "num_return_sequences": list(range(1, beams + 1)),
        }
    if sampling:
        choices |= {
            "temperature": [0.5, 1.8],
            "top_k": [0, 5, 20],
            "top_p": [0.4, 0.9],
            "min_p": [0.05],
            "typical_p": [0.6],
            "num_return_sequences": list(range(1, beams + 1)) if beams > 1 else [1, 2, 3],
        }
    drawn = {name: chance.choice(values) for name, values in choices.items() if chance.random() < 0.4}
    drawn.setdefault("eos_token_id", ENDS)
    if drawn["eos_token_id"] is None or BANNING & set(drawn):
        drawn.pop("exponential_decay_length_penalty", None)  # its score would be no number in transformers
    drawn.setdefault("pad_token_id", 1)
    length = {"max_new_tokens": new} if chance.random() < 0.7 else {"max_length": PROMPT + 3 + new}
    return {"num_beams": beams, "do_sample": sampling, **length, **drawn}


ROWS = 3
"""Rows of the batches that `prompt_of` makes."""


def distinct_decoders() -> list[str]:
    """The first of `decoders` of each build: other architectures of the same build differ in numbers alone."""
    found: dict[Any, str] = {}
    for kind in decoders():
        numbers = tiny_decoder(kind).base.config
        last = numbers.last
        stacks = (numbers.encoder is None, numbers.decoder is None, numbers.one_vocabulary)
        found.setdefault((stacks, last.cross, last.pre_norm), kind)
    return list(found.values())


def generator_of(kind: str) -> Any:
    """A flexible model of a kind that `decoders` lists, in doubles, with a head "words" for the next token.

    Doubles: two ways of computing the same must not differ so much that another token becomes the likeliest.
    """
    model = tiny_decoder(kind)
    types = [name for name in head_types(model) if getattr(HEADS[name], "generates", False)]
    add_head(model, types[0], "words", layers=1)
    return model.double()


def prompt_of(model: Any) -> Batch:
    """A batch to go on from: an encoder's input, or prompts, with padding; and what cross-attention looks at."""
    lengths = [6, 3, 5]
    batch = batch_for(model, rows=ROWS, length=6, lengths=lengths, decoder=False)
    batch = {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}
    if len(model.base.config.stacks()) == 2:
        return {**batch, "decoder_input_ids": torch.full((ROWS, 1), start_of(model))}
    own = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch]
    for name in own:  # prompts end where what is generated begins
        rows = zip(batch[name], lengths, strict=True)
        batch[name] = torch.stack([row.roll(6 - length) for row, length in rows])
    return batch


def start_of(model: Any) -> int:
    """A decoder's first token."""
    start = model.config.decoder_start_token_id
    found: int = model.config.bos_token_id if start is None else start
    return found


def rows_of(inputs: Batch, row: int) -> Batch:
    """One row of a batch that `prompt_of` made, as it is."""
    return {name: tensor[row : row + 1] for name, tensor in inputs.items()}
