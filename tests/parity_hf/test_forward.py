"""Every class of the registry gives what transformers' class of that name gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.hf_batches import inputs_for, labels_for
from tests.helpers.hf_compare import same_gradients, same_output, same_tuple
from tests.helpers.hf_models import CASES, Case, each, each_padded, kept_pair, pair

EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def call_for(case: Case, config: Any, padding: str) -> dict[str, Any]:
    """Inputs and labels. Where there is padding, transformers' loss of an answer's span is another: see there."""
    inputs = inputs_for(case, config, padding)
    if case.head_type == "question_answering" and padding != "none":
        return inputs
    return {**inputs, **labels_for(case, config, inputs)}


def masks(case: Case, call: dict[str, Any]) -> dict[str, Any]:
    """Where the answering stack and the encoder have tokens; a decoder that is told its labels has no padding."""
    mask = call.get("attention_mask")
    return {"mask": None if case.head_type == "seq2seq_lm" else mask, "encoder_mask": mask}


@each_padded(CASES)
def test_outputs_and_loss_are_transformers(case: Case, padding: str) -> None:
    theirs, ours = kept_pair(case)
    call = call_for(case, theirs.config, padding)
    with torch.no_grad():
        same_output(ours(**call), theirs(**call), **masks(case, call))


@each(CASES)
@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
def test_hidden_states_and_attentions_are_transformers(
    case: Case, padding_free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = kept_pair(case, attn_implementation="eager")
    call = call_for(case, theirs.config, "right")
    monkeypatch.setattr(ours, "padding_free", padding_free)
    with torch.no_grad():
        expected = theirs(**call, **EVERYTHING)
        same_output(ours(**call, **EVERYTHING), expected, **masks(case, call))
    assert any("hidden_states" in key for key in expected)
    assert any("attentions" in key for key in expected)


@each(CASES)
def test_a_tuple_has_what_transformers_has_in_its_order(case: Case) -> None:
    theirs, ours = kept_pair(case, attn_implementation="eager")
    call = call_for(case, theirs.config, "none")
    for more in ({}, EVERYTHING):
        with torch.no_grad():
            same_tuple(ours(**call, **more, return_dict=False), theirs(**call, **more, return_dict=False))


def objective(case: Case, output: Any, mask: torch.Tensor | None) -> torch.Tensor:
    """The loss, or of a bare model a number that every tensor of its output moves."""
    if case.head_type is not None:
        return output["loss"]
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros(())
    for value in output.values():
        weighed = value * torch.randn(value.shape, generator=generator)
        total = total + (weighed if mask is None or value.dim() < 3 else weighed[mask.bool()]).sum()
    return total


@each(CASES)
@pytest.mark.parametrize("padding", ["right", "none"])
def test_every_gradient_in_training_is_transformers(case: Case, padding: str, tmp_path: Path) -> None:
    if case.head_type == "question_answering":
        padding = "none"
    theirs, ours = (model.train() for model in pair(case, tmp_path))
    call = call_for(case, theirs.config, padding)
    for model in (theirs, ours):
        objective(case, model(**call), call.get("attention_mask")).backward()
    same_gradients(ours, theirs)
