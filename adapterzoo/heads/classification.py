"""Heads that read one vector a row: classification, regression, multi-label, multiple choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from adapterzoo.core.outputs import (
    MultipleChoiceModelOutput,
    Seq2SeqSequenceClassifierOutput,
    SequenceClassifierOutput,
)
from adapterzoo.heads.base import HEADS, HeadHost, PredictionHead, given, labels_config
from adapterzoo.heads.features import Features
from adapterzoo.heads.loss import binary_cross_entropy, cross_entropy, squared_error


@HEADS.register("classification")
class ClassificationHead(PredictionHead):
    """Logits of each row; one label means regression.

    Loss: cross-entropy; with one label (or `problem_type="regression"`) the squared error; with labels of floats
    (B, C) the binary cross-entropy.

    Args:
        model: the model.
        head_name: its name.
        num_labels: C.
        layers: linear layers.
        activation_function: between them.
        id2label: names of labels.
        use_pooler: read the pooler's output in place of the first token.
        bias: whether the last layer has one.
        dropout_prob: the model's if None.
        input_dropout: dropout before the first layer; `dropout_prob` if None.
        problem_type: "regression" for the squared error with several labels, "single_label_classification" for the
            cross-entropy with one.
    """

    head_type = "classification"
    reads_cls = True

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        num_labels: int = 2,
        layers: int = 2,
        activation_function: str | None = "tanh",
        id2label: Mapping[int, str] | None = None,
        use_pooler: bool = False,
        bias: bool = True,
        dropout_prob: float | None = None,
        problem_type: str | None = None,
        input_dropout: float | None = None,
    ) -> None:
        super().__init__(head_name)
        self.config = {
            "head_type": self.head_type,
            "layers": layers,
            "activation_function": activation_function,
            "use_pooler": use_pooler,
            "bias": bias,
            "dropout_prob": dropout_prob,
            **labels_config(num_labels, id2label),
            **given(problem_type=problem_type, input_dropout=input_dropout),
        }
        self.build(model)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss for (B, C) logits."""
        usual = "regression" if self.config["num_labels"] == 1 else None
        if self.config.get("problem_type", usual) == "regression":
            return squared_error(logits, labels)
        if labels.is_floating_point():
            return binary_cross_entropy(logits, labels)
        return cross_entropy(logits, labels)

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`logits` (B, C), and `loss` if there are labels."""
        return self.respond(outputs, super().forward(cls_output), return_dict, labels)

    def respond(
        self, outputs: Features, logits: Tensor, return_dict: bool, labels: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """`logits` (B, C), and `loss` if there are labels."""
        loss = None if labels is None else self.loss(logits, labels)
        return outputs.answer(
            SequenceClassifierOutput, Seq2SeqSequenceClassifierOutput, return_dict, loss=loss, logits=logits
        )


@HEADS.register("multilabel_classification")
class MultiLabelClassificationHead(ClassificationHead):
    """Logits of each row, each label yes or no; the loss is the binary cross-entropy."""

    head_type = "multilabel_classification"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss for (B, C) logits and labels."""
        return binary_cross_entropy(logits, labels)


@HEADS.register("multiple_choice")
class MultipleChoiceHead(PredictionHead):
    """One logit for each choice; the choices of a question are consecutive rows, or the input's second dimension.

    Args:
        model: the model.
        head_name: its name.
        num_choices: choices of a question, where the input's shape (B, choices, T) does not tell.
        layers: linear layers.
        activation_function: between them.
        id2label: names of choices.
        use_pooler: read the pooler's output in place of the first token.
        dropout_prob: the model's if None.
        input_dropout: dropout before the first layer; `dropout_prob` if None.
        num_labels: as many as choices; files may hold it.
    """

    head_type = "multiple_choice"
    reads_cls = True

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        num_choices: int = 2,
        layers: int = 2,
        activation_function: str | None = "tanh",
        id2label: Mapping[int, str] | None = None,
        use_pooler: bool = False,
        dropout_prob: float | None = None,
        num_labels: int | None = None,
        input_dropout: float | None = None,
    ) -> None:
        super().__init__(head_name)
        labels = labels_config(num_labels or num_choices, id2label)
        self.config = {
            "head_type": self.head_type,
            "num_choices": num_choices,
            "layers": layers,
            "activation_function": activation_function,
            "use_pooler": use_pooler,
            "dropout_prob": dropout_prob,
            "label2id": labels["label2id"],
            **given(input_dropout=input_dropout),
        }
        self.build(model)

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`logits` (B, choices), and `loss` if there are labels.

        Raises:
            ValueError: the rows cannot be divided into questions.
        """
        scores: Tensor = super().forward(cls_output)
        choices = outputs.choices if outputs.choices > 1 else self.config["num_choices"]
        if scores.size(0) % choices:
            raise ValueError(f"{scores.size(0)} rows cannot be divided into questions of {choices} choices")
        logits = scores.view(-1, choices)
        loss = None if labels is None else cross_entropy(logits, labels)
        return outputs.answer(
            MultipleChoiceModelOutput, Seq2SeqSequenceClassifierOutput, return_dict, loss=loss, logits=logits
        )
