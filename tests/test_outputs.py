"""Outputs read as attributes, as keys and as tuples."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AutoConfig, AutoModel, ModelOutput, MultiHeadOutput
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.batches import batch_for
from tests.helpers.tiny import NAMES, tiny_config, tiny_model


@pytest.mark.parametrize("architecture", NAMES)
def test_an_output_reads_as_attributes_keys_and_tuple(architecture: str) -> None:
    model = tiny_model(architecture).eval()
    model.add_classification_head("default")
    batch = batch_for(model, decoder=False)
    labels = torch.zeros(len(batch["input_ids"]), dtype=torch.long)
    output = model(**batch, labels=labels, output_hidden_states=True)
    assert isinstance(output, ModelOutput)
    assert output.loss is output["loss"] is output[0]
    assert output.logits is output[1] is output[:2][1]
    assert list(output) == output.keys() and "loss" in output and "attentions" not in output
    assert dict(output)["logits"] is output.logits
    assert len(output) == len(output.to_tuple())
    assert output.get("attentions", 7) == 7
    with pytest.raises(KeyError, match="has no 'attentions'; it has loss, logits"):
        output["attentions"]
    plain = model(**batch, labels=labels, output_hidden_states=True, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[1], output.logits) and len(plain) == len(output)


def test_outputs_of_several_heads_tell_whose_rows_they_are() -> None:
    model = tiny_model("bert").eval()
    model.add_adapter("a", "lora")
    model.add_adapter("b", "seq_bn")
    model.add_classification_head("a", num_labels=2)
    model.add_classification_head("b", num_labels=3)
    output = model(**batch_for(model, rows=3), adapter_names=["b", "a", "b"])
    assert isinstance(output, MultiHeadOutput)
    assert output.rows == ((1,), (0, 2)) and len(output) == 2
    assert [row.shape[-1] for row in output.logits] == [3, 2, 3]
    assert output[1] is list(output)[1] is output.head_outputs[1]


@pytest.mark.parametrize("architecture", NAMES)
def test_a_model_is_made_from_a_config_of_any_architecture(architecture: str) -> None:
    fields = tiny_config(architecture).to_dict()
    config = AutoConfig.for_model(**fields)
    model = AutoModel.from_config(config)
    assert model.training and model.config == config
    assert type(model).__name__ == ARCHITECTURES[architecture].class_name()


@pytest.mark.parametrize("architecture", NAMES)
def test_adapters_are_known_to_the_config(architecture: str) -> None:
    model = tiny_model(architecture)
    model.add_adapter("mrpc", "lora[r=4]")
    assert "mrpc" in model.config.adapters and "sst2" not in model.config.adapters
    assert model.adapters_config.get("mrpc")["r"] == 4
    summary = {row["name"]: row for row in model.adapter_summary(as_dict=True)}
    assert summary["mrpc"]["#param"] == sum(p.numel() for p in model.adapters["mrpc"].parameters())
    assert "mrpc" in model.adapter_summary() and "Full model" in model.adapter_summary()
