"""What `generate` returns with `return_dict_in_generate=True`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from adapterzoo.core.outputs import ModelOutput


@dataclass(eq=False)
class GenerateOutput(ModelOutput):
    """Sequences and what was asked for beside them. Shapes: N sequences, R rows (inputs × beams), V vocabulary.

    Attributes:
        sequences: (N, T), prompt and new tokens, padding after the end.
        sequences_scores: (N,) beam search's scores of them, if scores were asked for.
        scores: each step's scores (R, V) after all changes, if they were asked for: log-probabilities in beam search.
        logits: each step's logits (R, V) from the head, if they were asked for.
        beam_indices: (N, new tokens) the row that each token was chosen in, -1 after the end; in beam search.
    """

    sequences: Tensor | None = None
    sequences_scores: Tensor | None = None
    scores: tuple[Tensor, ...] | None = None
    logits: tuple[Tensor, ...] | None = None
    beam_indices: Tensor | None = None
