"""Flexible heads to compare with the peer `adapters`: how both models add each, and labels for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.heads.loss import IGNORED
from tests.helpers.hf_batches import LABELS, MAKERS
from tests.helpers.hf_models import small_config
from tests.helpers.peer_adapters import inputs_of, peer_heads
from tests.helpers.tiny import DISTINCT

NAMES = {0: "no", 1: "yes", 2: "perhaps"}
assert len(NAMES) == LABELS


def _yes_or_no(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {"labels": torch.randint(2, (ids.size(0), config.num_labels)).float()}


def _numbers(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {"labels": torch.randn(ids.size(0))}


def _none(ids: Tensor, mask: Tensor, config: Any) -> dict[str, Tensor]:
    return {}


Maker = Callable[[Tensor, Tensor, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class HeadCase:
    """One flexible head.

    Args:
        kind: its type.
        method: what adds it: `add_<method>_head`.
        settings: arguments of that.
        config: fields of the model's config.
        labels: what makes its labels, if not the type's usual.
    """

    kind: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    labels: Maker | None = None

    def fits(self, architecture: Architecture) -> bool:
        """Whether the architecture has such heads, and the peer's can run: not one layer for another width."""
        network = architecture.network(architecture.config())
        narrow = network.last.token_width != network.width
        lost = self.settings.get("use_pooler") and not network.pooler
        lost = lost or (self.kind.endswith("_lm") and self.settings.get("layers") == 1 and narrow)
        return self.kind in architecture.heads and not lost

    def add(self, model: Any, name: str) -> None:
        """Add the head to a model, either library's."""
        getattr(model, f"add_{self.method}_head")(name, **self.settings)

    def inputs(self, architecture: Architecture) -> dict[str, Tensor]:
        """Inputs with labels.

        Answers to questions are looked for without padding, for here padding is never an answer. A decoder is told what
        to say only where it is to say something; else it reads what the encoder reads.
        """
        inputs = inputs_of(architecture, "none" if self.kind == "question_answering" else "right")
        if self.kind != "seq2seq_lm":
            inputs = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
        config = small_config(architecture, num_labels=LABELS)
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask", torch.ones_like(ids)).bool()
        labels = (self.labels or MAKERS[self.kind])(ids, mask, config)
        if self.kind == "seq2seq_lm":
            labels["labels"][inputs["decoder_attention_mask"] == 0] = IGNORED
        if self.kind == "multiple_choice":
            inputs = {name: value.unflatten(0, (-1, 2)) for name, value in inputs.items()}
            labels["labels"] = labels["labels"][::2]
        return {**inputs, **labels}


_LABELS = {"num_labels": LABELS}
_UNTIED = {"tie_word_embeddings": False}

HEAD_CASES: dict[str, HeadCase] = {
    "classification": HeadCase("classification", "classification", {**_LABELS, "id2label": NAMES}),
    "classification-1": HeadCase("classification", "classification", {**_LABELS, "layers": 1}),
    "classification-3-linear": HeadCase(
        "classification", "classification", {**_LABELS, "layers": 3, "activation_function": None}
    ),
    "classification-pooler": HeadCase("classification", "classification", {**_LABELS, "use_pooler": True}),
    "regression": HeadCase("classification", "classification", {"num_labels": 1}, labels=_numbers),
    "multilabel": HeadCase(
        "multilabel_classification", "classification", {**_LABELS, "multilabel": True}, labels=_yes_or_no
    ),
    "tagging": HeadCase("tagging", "tagging", {**_LABELS, "id2label": NAMES}),
    "tagging-2": HeadCase("tagging", "tagging", {**_LABELS, "layers": 2, "activation_function": "relu"}),
    "qa": HeadCase("question_answering", "qa"),
    "qa-2": HeadCase("question_answering", "qa", {"layers": 2}),
    "choice": HeadCase("multiple_choice", "multiple_choice", {"num_choices": 2}),
    "choice-pooler": HeadCase(
        "multiple_choice", "multiple_choice", {"num_choices": 2, "layers": 1, "use_pooler": True}
    ),
    "masked-lm": HeadCase("masked_lm", "masked_lm"),
    "masked-lm-3": HeadCase("masked_lm", "masked_lm", {"layers": 3, "activation_function": "relu"}),
    "masked-lm-untied": HeadCase("masked_lm", "masked_lm", config=_UNTIED),
    "causal-lm": HeadCase("causal_lm", "causal_lm", config={"is_decoder": True}),
    "causal-lm-1-encoder": HeadCase("causal_lm", "causal_lm", {"layers": 1}, labels=_none),  # refused here
    "seq2seq-lm": HeadCase("seq2seq_lm", "seq2seq_lm"),
    "seq2seq-lm-2": HeadCase("seq2seq_lm", "seq2seq_lm", {"layers": 2}),
}
"""Heads by a name for reports; a type that no architecture of the peer has is not here."""


SAMPLE = ("classification", "masked-lm", "seq2seq-lm")
"""Heads for the architectures that share code and tables with another."""


def each_head() -> pytest.MarkDecorator:
    """Parametrise a test over architectures and the heads that they have here and in the peer.

    All heads for those in DISTINCT, SAMPLE for the others.
    """
    both = [
        pytest.param(architecture, case, id=f"{architecture.name}-{name}")
        for architecture in ARCHITECTURES.values()
        for name, case in HEAD_CASES.items()
        if case.fits(architecture)
        and case.kind in peer_heads(architecture)
        and (architecture.model_type in DISTINCT or name in SAMPLE)
    ]
    return pytest.mark.parametrize(("architecture", "case"), both)


def each_with(*kinds: str) -> pytest.MarkDecorator:
    """Parametrise a test over the architectures that have heads of one of these types, here and in the peer."""
    found = [kind for kind in ARCHITECTURES.values() if peer_heads(kind).intersection(kind.heads, kinds)]
    return pytest.mark.parametrize("architecture", [pytest.param(kind, id=kind.name) for kind in found])
