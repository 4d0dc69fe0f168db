"""Heads that read every token: tagging and question answering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.outputs import (
    QuestionAnsweringModelOutput,
    Seq2SeqHeadOutput,
    Seq2SeqQuestionAnsweringModelOutput,
    TokenClassifierOutput,
)
from adapterzoo.heads.base import HEADS, HeadHost, PredictionHead, labels_config
from adapterzoo.heads.features import Features
from adapterzoo.heads.loss import IGNORED, cross_entropy, without_padding


class TokenHead(PredictionHead):
    """Logits of each token.

    Args:
        model: the model.
        head_name: its name.
        num_labels: C.
        layers: linear layers.
        activation_function: between them.
        id2label: names of labels.
        dropout_prob: the model's if None.
    """

    reads_cls = False

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        num_labels: int = 2,
        layers: int = 1,
        activation_function: str | None = "tanh",
        id2label: Mapping[int, str] | None = None,
        dropout_prob: float | None = None,
    ) -> None:
        super().__init__(head_name)
        self.config = {
            "head_type": self.head_type,
            "layers": layers,
            "activation_function": activation_function,
            "dropout_prob": dropout_prob,
            **labels_config(num_labels, id2label),
        }
        self.build(model)

    def body(self, hidden: Tensor) -> Tensor:
        """The layers: (…, D) to (…, C)."""
        out: Tensor = PredictionHead.forward(self, hidden)
        return out


@HEADS.register("tagging")
class TaggingHead(TokenHead):
    """Logits of each token. Loss: cross-entropy over tokens whose label is not -100; padding never counts."""

    head_type = "tagging"

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`logits` (B, T, C), and `loss` if there are labels (B, T)."""
        logits, loss = outputs.per_token(self.body), None
        if labels is not None:
            loss = cross_entropy(logits, without_padding(labels, outputs.layout.mask))
        return outputs.answer(TokenClassifierOutput, Seq2SeqHeadOutput, return_dict, loss=loss, logits=logits)


@HEADS.register("question_answering")
class QuestionAnsweringHead(TokenHead):
    """Two logits a token: the answer starts here, the answer ends here.

    Loss: mean of the two cross-entropies over a row's tokens. Padding has the least logit that there is, so it is never
    an answer and a row's loss does not depend on how far its batch was padded. Positions outside of the row are passed
    over.
    """

    head_type = "question_answering"

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`start_logits` and `end_logits` (B, T), and `loss` if there are positions (B,)."""
        both = outputs.per_token(self.body, fill=torch.finfo(outputs.last.hidden.dtype).min)
        start, end = both[..., 0].contiguous(), both[..., 1].contiguous()
        loss = None
        if start_positions is not None and end_positions is not None:
            mask = outputs.layout.mask
            loss = (_position_loss(start, start_positions, mask) + _position_loss(end, end_positions, mask)) / 2
        return outputs.answer(
            QuestionAnsweringModelOutput,
            Seq2SeqQuestionAnsweringModelOutput,
            return_dict,
            loss=loss,
            start_logits=start,
            end_logits=end,
        )


def _position_loss(logits: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
    """Cross-entropy over positions; those beyond the row are passed over, those below 0 count as 0, as in HF."""
    if positions.shape not in ((len(logits),), (len(logits), 1)):
        raise ValueError(f"positions have shape {tuple(positions.shape)}, but must have {(len(logits),)}")
    positions, last = positions.reshape(-1).clamp(min=0), logits.size(1) - 1
    outside = positions > last
    if mask is not None:
        outside = outside | ~mask.gather(1, positions.clamp(max=last)[:, None]).squeeze(1)
    return cross_entropy(logits, positions.masked_fill(outside, IGNORED))
