"""Stacks that look back only, with and without another text to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.hf_batches import batch, inputs_for, labels_for
from tests.helpers.hf_compare import close, same_gradients, same_output
from tests.helpers.hf_models import CASES, Case, each, kept_pair, pair

EVERYTHING = {"output_hidden_states": True, "output_attentions": True}
ALONE = [case for case in CASES if case.decodes]
BY_TOKEN = [case for case in ALONE if case.head_type in ("tagging", "question_answering", "masked_lm", "causal_lm")]
# A lone stack, or a decoder cut loose from its encoder, that may be told what to look at.
LOOKING = [case for case in CASES if case.head_type == "causal_lm" or (case.decodes and case.static is None)]


def decoder(case: Case, **more: Any) -> dict[str, Any]:
    """What makes the class a decoder; one that was cut loose is one already."""
    return {"is_decoder": True, **more} if case.alone else {}


def labelled(case: Case, config: Any, padding: str) -> dict[str, Any]:
    inputs = inputs_for(case, config, padding)
    spans = case.head_type == "question_answering"  # whose loss is another with padding: test_losses.py
    return inputs if spans else {**inputs, **labels_for(case, config, inputs)}


@each(ALONE)
@pytest.mark.parametrize("padding", ["right", "none"])
def test_every_class_of_one_stack_may_look_back_only(case: Case, padding: str) -> None:
    theirs, ours = kept_pair(case, **decoder(case))
    call = labelled(case, theirs.config, padding)
    with torch.no_grad():
        same_output(ours(**call), theirs(**call), call.get("attention_mask"))


# Not the classes that read a row's first token: it is padding here, and sees nothing.
@each(BY_TOKEN)
def test_looking_back_ends_at_padding_on_the_left(case: Case) -> None:
    theirs, ours = kept_pair(case, **decoder(case))
    call = labelled(case, theirs.config, "left")
    with torch.no_grad():
        same_output(ours(**call), theirs(**call), call["attention_mask"])


def looking(case: Case, config: Any, padding: str) -> dict[str, Any]:
    """Inputs, labels, and what to look at: another text's hidden states, with padding."""
    call: dict[str, Any] = batch(config, padding)
    call |= labels_for(case, config, call)
    rows = call["input_ids"].size(0)
    call["encoder_hidden_states"] = torch.randn(rows, 6, config.hidden_size)
    call["encoder_attention_mask"] = (torch.arange(6) < torch.tensor([6, 1, 3, 5])[:, None]).long()
    return call


@pytest.mark.parametrize(
    ("case", "padding"),
    # A bare model's pooler reads a row's first token.
    [(c, p) for c in LOOKING for p in ("right", "left", "none") if c.static is not None or p != "left"],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_decoder_looks_at_hidden_states(case: Case, padding: str) -> None:
    changes = decoder(case, add_cross_attention=True)
    theirs, ours = kept_pair(case, attn_implementation="eager", **changes)
    call = looking(case, theirs.config, padding)
    with torch.no_grad():
        expected, found = theirs(**call, **EVERYTHING), ours(**call, **EVERYTHING)
    same_output(found, expected, call.get("attention_mask"))
    assert len(expected.cross_attentions) == len(expected.attentions)


@each(LOOKING)
def test_a_decoder_may_look_at_all_hidden_states_or_at_none(case: Case) -> None:
    theirs, ours = kept_pair(case, **decoder(case, add_cross_attention=True))
    call = looking(case, theirs.config, "right")
    with torch.no_grad():
        for name in ("encoder_attention_mask", "encoder_hidden_states"):
            call.pop(name)
            same_output(ours(**call), theirs(**call), call["attention_mask"])


@each(LOOKING)
def test_every_gradient_of_a_decoder_is_transformers(case: Case, tmp_path: Path) -> None:
    changes = decoder(case, add_cross_attention=True)
    theirs, ours = (model.train() for model in pair(case, tmp_path, **changes))
    call = looking(case, theirs.config, "right")
    seen = call["encoder_hidden_states"]
    reached = []
    for model in (theirs, ours):
        call["encoder_hidden_states"] = seen.clone().requires_grad_()
        output = model(**call)
        score(output, call["attention_mask"]).backward()
        reached.append(call["encoder_hidden_states"].grad)
    same_gradients(ours, theirs)
    close(reached[1], reached[0], "gradient of what is looked at")


@each([case for case in CASES if case.head_type == "causal_lm" and case.alone])
def test_a_head_for_the_next_token_on_an_encoder_has_a_loss_only_where_the_mask_looks_back(case: Case) -> None:
    theirs, ours = kept_pair(case, is_decoder=False)
    call: dict[str, Any] = batch(theirs.config)
    labels = labels_for(case, theirs.config, call)
    with torch.no_grad():
        same_output(ours(**call), theirs(**call), call["attention_mask"])
        with pytest.raises(ValueError, match="has no loss: it predicts the next token"):
            ours(**call, **labels)
        length = call["input_ids"].size(1)
        back = {**call, "attention_mask": torch.ones(len(call["input_ids"]), length, length).tril(), **labels}
        same_output(ours(**back), theirs(**back))


def score(output: Any, mask: Tensor) -> Tensor:
    """The loss, or without one a number that every token's hidden state moves."""
    if "loss" in output:
        return output["loss"]
    hidden: Tensor = output["last_hidden_state"][mask.bool()]
    pooled = output["pooler_output"].square().sum() if "pooler_output" in output else 0
    return (hidden * torch.linspace(-1, 1, hidden.size(1))).sum() + pooled
