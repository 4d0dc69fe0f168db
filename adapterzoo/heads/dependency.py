"""Dependency parsing: each word's head and the relation to it, by biaffine attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapterzoo.core.outputs import DependencyParsingOutput
from adapterzoo.heads.base import HEADS, HeadHost, PredictionHead, head_dropout, labels_config
from adapterzoo.heads.features import Features
from adapterzoo.heads.loss import IGNORED, cross_entropy
from adapterzoo.heads.words import Words


class Biaffine(nn.Module):
    """s_o = [x; 1]ᵀ W_o [y; 1] for each pair of vectors, with the ones where there are biases.

    Args:
        width: D, of both vectors.
        outputs: how many scores a pair has.
        bias_x, bias_y: whether a one is appended to x, to y.
    """

    def __init__(self, width: int, outputs: int, bias_x: bool, bias_y: bool) -> None:
        super().__init__()
        self.ones = int(bias_x), int(bias_y)
        self.weight = nn.Parameter(torch.zeros(outputs, width + self.ones[0], width + self.ones[1]))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, X, D) and (B, Y, D) to (B, X, Y, outputs)."""
        x, y = (F.pad(each, (0, ones), value=1.0) for each, ones in zip((x, y), self.ones, strict=True))
        return torch.einsum("bxi,oij,byj->bxyo", x, self.weight, y)


@HEADS.register("dependency_parsing")
class BiaffineParsingHead(PredictionHead):
    """Scores of each word's head and of the relation to it (Dozat & Manning 2017, arXiv:1611.01734).

    A word's vector is the mean of its tokens', the root's that of the first token, as Glavaš & Vulić (2021,
    arXiv:2008.06788) have it. arc = [d; 1]ᵀ A h and rel_r = [d; 1]ᵀ R_r [h; 1] for a word d and a possible head h.

    Loss: the cross-entropy of the arcs over a row's root and words, plus that of the relations at the right heads, both
    the mean over the words that have a label. How far a batch is padded makes no difference.

    Args:
        model: the model.
        head_name: its name.
        num_labels: relations.
        id2label: their names.
    """

    head_type = "dependency_parsing"
    reads_cls = False
    needs = ("word_starts",)

    def __init__(
        self, model: HeadHost, head_name: str, num_labels: int = 2, id2label: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(head_name)
        self.config = {"head_type": self.head_type, **labels_config(num_labels, id2label)}
        width = model.base.config.width
        self.biaffine_arcs = Biaffine(width, 1, bias_x=True, bias_y=False)
        self.biaffine_rels = Biaffine(width, num_labels, bias_x=True, bias_y=True)
        self.dropout = nn.Dropout(head_dropout(self.config, model.config))
        self.pad_id: int = model.config.pad_token_id

    def forward(  # type: ignore[override]
        self,
        outputs: Features,
        cls_output: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_dict: bool = False,
        word_starts: Tensor | None = None,
        labels_arcs: Tensor | None = None,
        labels_rels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`rel_preds` (B, T, T + 1, relations) and `arc_preds` (B, T, T + 1), and `loss` if there are both labels.

        Args:
            outputs: what the network gave.
            cls_output, attention_mask: not read.
            return_dict: whether to return an output or a tuple.
            word_starts: (B, W + 1): where each word's first token is, then where the last word ends; then padding, a
                negative number or the model's pad_token_id.
            labels_arcs: (B, W): each word's head, its number counted from 1, or 0 for the root. Negative numbers are
                passed over, and so is what follows a row's last word.
            labels_rels: (B, W): the relations.
            kwargs: not read.

        Raises:
            ValueError: word starts are not sorted or lie outside of their row, or labels are out of range.
        """
        assert word_starts is not None
        length = outputs.layout.length
        words = Words.of(word_starts, outputs.layout, self.pad_id)
        hidden = self.dropout(outputs.last_hidden_state)
        deps = words.means(hidden)
        heads = torch.cat([hidden[:, :1], deps], 1)
        arcs, rels = self.biaffine_arcs(deps, heads).squeeze(-1), self.biaffine_rels(deps, heads)
        least = torch.finfo(arcs.dtype).min
        arcs, rels = arcs.masked_fill(~words.pairs, least), rels.masked_fill(~words.pairs[..., None], 0.0)
        loss = None
        if labels_arcs is not None and labels_rels is not None:
            loss = _loss(arcs, rels, words, labels_arcs, labels_rels)
        more = length - deps.size(1)
        rel_preds, arc_preds = F.pad(rels, (0, 0, 0, more, 0, more)), F.pad(arcs, (0, more, 0, more), value=least)
        kind = DependencyParsingOutput
        return outputs.answer(kind, kind, return_dict, loss=loss, rel_preds=rel_preds, arc_preds=arc_preds)


def _loss(arcs: Tensor, rels: Tensor, words: Words, labels_arcs: Tensor, labels_rels: Tensor) -> Tensor:
    heads, relations = words.labels("labels_arcs", labels_arcs), words.labels("labels_rels", labels_rels)
    heads = heads.masked_fill(heads < 0, IGNORED)
    relations = relations.masked_fill(heads < 0, IGNORED)
    if not torch.compiler.is_compiling():
        _check("labels_arcs", heads, words.counts[:, None], "the row's root and words")
        _check("labels_rels", relations, rels.size(-1) - 1, "the relations")
    at = heads.clamp(min=0)[..., None, None].expand(-1, -1, 1, rels.size(-1))
    return cross_entropy(arcs, heads) + cross_entropy(rels.gather(2, at).squeeze(2), relations)


def _check(name: str, labels: Tensor, last: Tensor | int, what: str) -> None:
    """Check labels that are not passed over.

    Raises:
        ValueError: one is out of range; the message tells the first.
    """
    wrong = ((labels < 0) & (labels != IGNORED)) | (labels > last)
    if bool(wrong.any()):
        row, word = wrong.nonzero()[0].tolist()
        most = int(last[row]) if isinstance(last, Tensor) else last
        raise ValueError(
            f"{name} of row {row}, word {word + 1}, is {int(labels[row, word])}, but {what} go from 0 to {most}"
        )
