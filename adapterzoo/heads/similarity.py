"""Embeddings of texts, whose cosine says how alike they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.outputs import Seq2SeqSimilarityOutput, SimilarityOutput
from adapterzoo.heads.base import HEADS, Activation, HeadHost, PredictionHead, initialise
from adapterzoo.heads.features import Features
from adapterzoo.heads.loss import IGNORED


def _mean(outputs: Features) -> Tensor:
    return outputs.layout.mean(outputs.last.hidden)


def _max(outputs: Features) -> Tensor:
    return outputs.per_token(lambda hidden: hidden, fill=torch.finfo(outputs.last.hidden.dtype).min).amax(1)


def _cls(outputs: Features) -> Tensor:
    return outputs.cls()


POOLINGS: dict[str, Callable[[Features], Tensor]] = {"mean": _mean, "cls": _cls, "max": _max}
"""How a row's tokens become one vector, padding left out."""


@HEADS.register("similarity")
class SimilarityHead(PredictionHead):
    """One embedding a row, after Sentence-BERT (Reimers & Gurevych 2019, arXiv:1908.10084).

    For training, texts that belong together are given together: `input_ids` (B, 2, T), or (B, texts, T), and all else
    of that shape. The kind of the labels (B,) says which loss:

    - numbers (floats), for two texts: how alike these are. Mean of (cos(u, v) - label)².
    - whole numbers: the second text is the answer to the first, those of other places are none (Henderson et al. 2017,
      arXiv:1705.00652), and any further texts are hard negatives. Cross-entropy of scale · cos(u, v) over all texts of
      the batch but the first ones. Places with one label are about the same thing: neither counts against the other.
      `torch.arange(B)` says that all are about something else. Places with the label -100 have no loss.

    Args:
        model: the model.
        head_name: its name.
        pooling: "mean" over tokens, "cls" (the classification token), or "max" over tokens; of the last stack.
        normalize: whether embeddings have length 1.
        embedding_size: their width, by one linear layer after the pooling; None for the model's width and no layer.
        activation_function: after that layer.
        scale: of cosines before the softmax.
    """

    head_type = "similarity"
    reads_cls = False

    def __init__(
        self,
        model: HeadHost,
        head_name: str,
        pooling: str = "mean",
        normalize: bool = True,
        embedding_size: int | None = None,
        activation_function: str | None = None,
        scale: float = 20.0,
    ) -> None:
        super().__init__(head_name)
        self.config = {
            "head_type": self.head_type,
            "pooling": pooling,
            "normalize": normalize,
            "embedding_size": embedding_size,
            "activation_function": activation_function,
            "scale": scale,
            "label2id": None,
        }
        if activation_function is not None and embedding_size is None:
            raise ValueError("activation_function follows the linear layer, which only embedding_size makes")
        if embedding_size is not None:
            self.append(nn.Linear(model.base.config.width, embedding_size))
            initialise(self, model.base.config.init_std)
        if activation_function is not None:
            self.append(Activation(activation_function))

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`embeddings` (B, D) or (B, texts, D), and `loss` if there are labels (B,).

        Raises:
            ValueError: there are labels for texts that are not given together, or they do not fit.
        """
        pooled = POOLINGS[self.config["pooling"]](outputs)
        embeddings: Tensor = super().forward(pooled)
        if self.config["normalize"]:
            embeddings = F.normalize(embeddings, dim=-1)
        if outputs.choices > 1:
            embeddings = embeddings.unflatten(0, (-1, outputs.choices))
        loss = None if labels is None else self.loss(embeddings, labels)
        return outputs.answer(SimilarityOutput, Seq2SeqSimilarityOutput, return_dict, loss=loss, embeddings=embeddings)

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of embeddings (B, texts, D)."""
        if embeddings.dim() != 3:
            raise ValueError(
                "labels are for texts that are given together: input_ids of shape (B, 2, T), or (B, texts, T)"
            )
        if labels.shape != (len(embeddings),):
            raise ValueError(f"labels have shape {tuple(labels.shape)}, but must have {(len(embeddings),)}")
        if not labels.is_floating_point():
            return ranking(embeddings, labels, self.config["scale"])
        if embeddings.size(1) != 2:
            raise ValueError(
                f"labels that are numbers (floats) say how alike two texts are, but there are {embeddings.size(1)}"
            )
        return F.mse_loss(F.cosine_similarity(embeddings[:, 0], embeddings[:, 1], dim=-1), labels.to(embeddings.dtype))


def ranking(embeddings: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Mean cross-entropy of picking each first text's answer, its second, among all texts that are not first.

    Args:
        embeddings: (B, texts, D).
        labels: (B,), what each place is about; -100 where it has no loss.
        scale: of cosines.
    """
    unit = F.normalize(embeddings, dim=-1)
    rows, texts, width = unit.shape
    scores = scale * unit[:, 0] @ unit[:, 1:].reshape(-1, width).T
    rival = (labels[:, None] != labels) | (labels == IGNORED)  # another's answer that is none here
    answer = torch.arange(texts - 1, device=labels.device) == 0
    own = torch.eye(rows, dtype=torch.bool, device=labels.device)
    left_out = (~(rival | own))[..., None] & answer
    scores = scores.masked_fill(left_out.flatten(1), torch.finfo(scores.dtype).min)
    right = (torch.arange(rows, device=labels.device) * (texts - 1)).masked_fill(labels == IGNORED, IGNORED)
    return F.cross_entropy(scores, right)
