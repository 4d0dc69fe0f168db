"""Heads that users write: two functions are all that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import adapterzoo as az
from tests.helpers.batches import batch_for
from tests.helpers.tiny import tiny_model


class Plain(az.PredictionHead):
    """Reads the last hidden states, as the peer's documentation shows it."""

    def __init__(self, model: Any, head_name: str, **kwargs: Any) -> None:
        super().__init__(head_name)
        self.config = kwargs
        self.build(model=model)

    def forward(
        self,
        outputs: Any,
        cls_output: Any = None,
        attention_mask: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        logits = super().forward(outputs[0])
        outputs = (logits, *outputs[1:])
        if kwargs.get("labels") is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), kwargs["labels"].flatten())
            outputs = (loss, *outputs)
        return outputs


class Looks(az.PredictionHead):
    """Keeps what it was called with."""

    def __init__(self, model: Any, head_name: str, **kwargs: Any) -> None:
        super().__init__(head_name)
        self.config = dict(kwargs)

    def forward(self, outputs: Any, cls_output: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        self.seen = (outputs, cls_output, attention_mask, kwargs)
        return cls_output


SETTINGS = {"layers": 2, "num_labels": 3, "activation_function": "tanh"}


@pytest.mark.parametrize("model_type", ["bert", "roberta", "bart"])
def test_a_custom_head_is_added_run_saved_and_loaded(model_type: str, tmp_path: Path) -> None:
    model = tiny_model(model_type).eval()
    model.register_custom_head("plain", Plain)
    model.add_custom_head(head_type="plain", head_name="mine", **SETTINGS)
    assert model.active_head == "mine"
    batch = batch_for(model, decoder=False)
    logits = model(**batch)[0]
    assert logits.shape == (*batch["input_ids"].shape, 3)
    loss = model(**batch, labels=torch.zeros_like(batch["input_ids"]))[0]
    loss.backward()
    assert model.heads["mine"][1].weight.grad is not None
    model.save_head(tmp_path, "mine")
    other = type(model)(model.config).eval()
    other.base.load_state_dict(model.base.state_dict())
    other.register_custom_head("plain", Plain)
    assert other.load_head(tmp_path) == "mine"
    assert torch.equal(other(**batch)[0], logits)


def test_a_custom_head_must_be_registered_before_it_is_loaded(tmp_path: Path) -> None:
    model = tiny_model("bert")
    model.register_custom_head("plain", Plain)
    model.add_custom_head("plain", "mine", **SETTINGS)
    model.save_head(tmp_path, "mine")
    other = tiny_model("bert")
    with pytest.raises(ValueError, match="'plain'; there are causal_lm, classification"):
        other.load_head(tmp_path)
    assert len(other.heads) == 0


def test_a_custom_head_is_given_everything() -> None:
    model = tiny_model("bert").eval()
    model.register_custom_head("looks", Looks)
    model.add_custom_head("looks", "eyes")
    batch = batch_for(model, decoder=False)
    model(**batch, output_hidden_states=True, output_attentions=True, anything=torch.ones(2))
    outputs, cls_output, mask, kwargs = model.heads["eyes"].seen
    assert torch.equal(outputs[0], outputs.last_hidden_state)
    assert torch.equal(cls_output, outputs[0][:, 0])
    assert len(outputs.hidden_states) == model.base.config.layers + 1
    assert len(outputs["attentions"]) == model.base.config.layers
    assert mask is batch["attention_mask"]
    assert set(kwargs) == {"anything", "return_dict"}


def test_a_custom_head_has_no_cls_output_where_rows_have_no_eos() -> None:
    model = tiny_model("bart").eval()
    model.register_custom_head("looks", Looks)
    model.add_custom_head("looks", "eyes")
    ids = torch.full((2, 4), 7)
    assert model(input_ids=ids) is None


def test_a_built_in_type_may_be_added_as_a_custom_one() -> None:
    model = tiny_model("bert").eval()
    model.add_custom_head("classification", "built-in", num_labels=4)
    assert model(**batch_for(model, decoder=False)).logits.size(-1) == 4
