"""What models return: objects that read as attributes, as keys and, without their empty fields, as a tuple."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

Scores = dict[str, dict[int, dict[str, Tensor]]]
"""Scores by the name of what tells them, layer and place."""


@dataclass(eq=False)
class ModelOutput:
    """Base of all outputs: `out.logits`, `out["logits"]`, `out[0]`, `out[1:]`, `out.to_tuple()`.

    Fields that are None are left out of the keys and of the tuple. The scores are last.

    Attributes:
        adapter_gating_scores: if asked for: adapters' gates by name, layer and place, (rows) or (rows, gates) each.
        adapter_fusion_attentions: if asked for: fusions' weights by name, layer and place, (rows, T, adapters) each;
            zeros at padding.
    """

    adapter_gating_scores: Scores | None = field(default=None, kw_only=True)
    adapter_fusion_attentions: Scores | None = field(default=None, kw_only=True)

    def keys(self) -> list[str]:
        """Names of the fields that are there."""
        ordered: list[Field[Any]] = sorted(fields(self), key=lambda one: bool(one.kw_only))  # the base's last
        return [one.name for one in ordered if getattr(self, one.name) is not None]

    def values(self) -> list[Any]:
        """The fields that are there."""
        return [getattr(self, key) for key in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of the fields that are there."""
        return [(key, getattr(self, key)) for key in self.keys()]

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are there, as a tuple."""
        return tuple(self.values())

    def get(self, key: str, default: Any = None) -> Any:
        """The field of that name, or `default` where it is not there."""
        return self[key] if key in self else default

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            if key not in self:
                raise KeyError(f"{type(self).__name__} has no {key!r}; it has {', '.join(self.keys())}")
            return getattr(self, key)
        return self.to_tuple()[key]

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


@dataclass(eq=False)
class BaseModelOutput(ModelOutput):
    """An encoder's output.

    Attributes:
        last_hidden_state: (B, T, D); zeros at padding.
        past_key_values: if asked for by `use_cache=True`: the cache, to be given with the next tokens.
        hidden_states: if asked for: the embeddings and each layer's output, (B, T, D) each.
        attentions: if asked for: each layer's attention probabilities, (B, H, T, S) each.
        cross_attentions: likewise for cross-attention.
    """

    last_hidden_state: Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """As BaseModelOutput, with `pooler_output` (B, D)."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class Seq2SeqModelOutput(ModelOutput):
    """An encoder-decoder's output; `last_hidden_state` is the decoder's."""

    last_hidden_state: Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class HeadOutput(ModelOutput):
    """A head's output over an encoder: `loss` () if labels were given, `logits`, and what the encoder tells."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class SequenceClassifierOutput(HeadOutput):
    """`logits` (B, labels)."""


@dataclass(eq=False)
class MultipleChoiceModelOutput(HeadOutput):
    """`logits` (B, choices)."""


@dataclass(eq=False)
class NextSentencePredictorOutput(HeadOutput):
    """`logits` (B, 2): follows, does not follow."""


@dataclass(eq=False)
class TokenClassifierOutput(HeadOutput):
    """`logits` (B, T, labels)."""


@dataclass(eq=False)
class MaskedLMOutput(HeadOutput):
    """`logits` (B, T, vocabulary)."""


@dataclass(eq=False)
class CausalLMOutput(HeadOutput):
    """`logits` (B, T, vocabulary)."""


@dataclass(eq=False)
class ElectraForPreTrainingOutput(HeadOutput):
    """`logits` (B, T)."""


@dataclass(eq=False)
class QuestionAnsweringModelOutput(ModelOutput):
    """`start_logits`, `end_logits` (B, T); the least number of the dtype at padding."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class PreTrainingOutput(ModelOutput):
    """`prediction_logits` (B, T, vocabulary) and `seq_relationship_logits` (B, 2)."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class Seq2SeqHeadOutput(ModelOutput):
    """A head's output over an encoder-decoder: as HeadOutput, with what both stacks tell."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class Seq2SeqLMOutput(Seq2SeqHeadOutput):
    """`logits` (B, T, vocabulary)."""


@dataclass(eq=False)
class Seq2SeqSequenceClassifierOutput(Seq2SeqHeadOutput):
    """`logits` (B, labels)."""


@dataclass(eq=False)
class Seq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """`start_logits`, `end_logits` (B, T), with what both stacks tell."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class DependencyParsingOutput(ModelOutput):
    """Scores of a dependency tree: `rel_preds` (B, T, T + 1, relations), `arc_preds` (B, T, T + 1).

    Both are counted by words, a row's first word at 0 of the second dimension; heads are counted from 1, and 0 is the
    root. Where there is no such word or head, relations are 0 and arcs the least number of the dtype.
    """

    loss: Tensor | None = None
    rel_preds: Tensor | None = None
    arc_preds: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class SimilarityOutput(ModelOutput):
    """`embeddings` (B, D), or (B, texts, D) where inputs were pairs or more texts together."""

    loss: Tensor | None = None
    embeddings: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class Seq2SeqSimilarityOutput(ModelOutput):
    """`embeddings` (B, D) or (B, texts, D), with what both stacks tell."""

    loss: Tensor | None = None
    embeddings: Tensor | None = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class MultiHeadOutput(ModelOutput):
    """Outputs of several heads, each for its own rows of one batch, or for rows that others answer, too.

    Attributes:
        loss: sum of the heads' losses, each the mean over its rows; None where no head has one.
        head_outputs: each head's own output.
        rows: for each head, the numbers of its rows in the batch.
    """

    loss: Tensor | None = None
    head_outputs: tuple[Any, ...] = ()
    rows: tuple[tuple[int, ...], ...] = ()

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.head_outputs[key]

    def __len__(self) -> int:
        return len(self.head_outputs)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.head_outputs)

    @property
    def logits(self) -> Tensor | list[Tensor]:
        """Logits row by row: one tensor if the heads' shapes agree, else a list of rows.

        In the batch's order; where a row has several heads, all of the first head's rows, then the second's, and so on.
        """
        answered = [
            (row, logits)
            for rows, output in zip(self.rows, self.head_outputs, strict=True)
            for row, logits in zip(rows, output.logits, strict=True)
        ]
        if len({row for row, _ in answered}) == len(answered):
            answered.sort(key=lambda pair: pair[0])
        ordered = [logits for _, logits in answered]
        return torch.stack(ordered) if len({row.shape for row in ordered}) == 1 else ordered
