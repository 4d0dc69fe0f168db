"""The heads of pretraining: BERT's next sentence, alone and with the masked language model; ELECTRA's detection."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from adapterzoo.core.outputs import (
    ElectraForPreTrainingOutput,
    NextSentencePredictorOutput,
    PreTrainingOutput,
    Seq2SeqHeadOutput,
)
from adapterzoo.heads.base import HEADS, Activation, HeadHost, PredictionHead, initialise
from adapterzoo.heads.features import Features
from adapterzoo.heads.lm import BertStyleMaskedLMHead
from adapterzoo.heads.loss import binary_cross_entropy, cross_entropy


@HEADS.register("next_sentence")
class NextSentenceHead(PredictionHead):
    """Whether the second sentence follows the first (0) or not (1), from the pooler's output.

    Args:
        model: the model.
        head_name: its name.
    """

    head_type = "next_sentence"
    reads_cls = True

    def __init__(self, model: HeadHost, head_name: str) -> None:
        super().__init__(head_name)
        self.config = {"head_type": self.head_type, "label2id": None}
        self.seq_relationship = nn.Linear(model.base.config.width, 2)
        initialise(self, model.base.config.init_std)

    @property
    def reads_pooler(self) -> bool:
        """Always."""
        return True

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`logits` (B, 2), and `loss` if there are labels (B,)."""
        logits = self.seq_relationship(cls_output)
        loss = None if labels is None else cross_entropy(logits, labels)
        return outputs.answer(NextSentencePredictorOutput, Seq2SeqHeadOutput, return_dict, loss=loss, logits=logits)


@HEADS.register("pretraining")
class PretrainingHead(BertStyleMaskedLMHead):
    """Masked language model and next sentence together; the loss is the sum of the two."""

    head_type = "pretraining"
    reads_cls = True

    def build(self, model: HeadHost) -> None:
        """As a masked language model's head, with `seq_relationship` on the pooler's output."""
        super().build(model)
        self.seq_relationship = nn.Linear(model.base.config.width, 2)
        initialise(self.seq_relationship, model.base.config.init_std)

    @property
    def reads_pooler(self) -> bool:
        """Always."""
        return True

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`prediction_logits` (B, T, V), `seq_relationship_logits` (B, 2), and `loss` if both labels are there."""
        words, sentence, loss = (
            outputs.per_token(partial(self.body, unembed=outputs.unembed)),
            self.seq_relationship(cls_output),
            None,
        )
        if labels is not None and next_sentence_label is not None:
            loss = self.loss(words, labels, outputs.layout.mask) + cross_entropy(sentence, next_sentence_label)
        return outputs.answer(
            PreTrainingOutput,
            Seq2SeqHeadOutput,
            return_dict,
            loss=loss,
            prediction_logits=words,
            seq_relationship_logits=sentence,
        )


@HEADS.register("token_detection")
class TokenDetectionHead(PredictionHead):
    """One logit a token: whether another model put it there (Clark et al. 2020, arXiv:2003.10555).

    Loss: binary cross-entropy over tokens that are no padding.

    Args:
        model: the model.
        head_name: its name.
        activation_function: between the two layers.
    """

    head_type = "token_detection"
    reads_cls = False

    def __init__(self, model: HeadHost, head_name: str, activation_function: str = "gelu") -> None:
        super().__init__(head_name)
        self.config = {"head_type": self.head_type, "activation_function": activation_function, "label2id": None}
        width = model.base.config.width
        for module in (nn.Linear(width, width), Activation(activation_function), nn.Linear(width, 1)):
            self.append(module)
        initialise(self, model.base.config.init_std)

    def body(self, hidden: Tensor) -> Tensor:
        """The layers: (…, D) to (…)."""
        logits: Tensor = super().forward(hidden)
        return logits.squeeze(-1)

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`logits` (B, T), and `loss` if there are labels (B, T), 1 at tokens that were put there."""
        logits, mask, loss = outputs.per_token(self.body), outputs.layout.mask, None
        if labels is not None:
            fits = mask is not None and labels.shape == mask.shape
            loss = binary_cross_entropy(*((logits[mask], labels[mask]) if fits else (logits, labels)))
        return outputs.answer(ElectraForPreTrainingOutput, Seq2SeqHeadOutput, return_dict, loss=loss, logits=logits)
