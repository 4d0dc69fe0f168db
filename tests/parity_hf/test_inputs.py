"""Every input that transformers takes means the same here: positions, types, embeddings, masks, a decoder's own."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.hf_batches import batch, inputs_for, labels_for
from tests.helpers.hf_compare import close, same_output
from tests.helpers.hf_models import CASES, Case, cases, each, each_padded, kept_pair, transformers

ALONE = [case for case in CASES if case.alone]
BARE = cases(None)
# With two stacks. Not the classifiers: they find a row's last <eos> in the encoder's ids.
PAIRED = [case for case in CASES if not case.alone and case.head_type in (None, "seq2seq_lm", "question_answering")]


def same(models: tuple[Any, Any], call: dict[str, Any], mask: Tensor | None, **more: Any) -> None:
    theirs, ours = models
    with torch.no_grad():
        same_output(ours(**call), theirs(**call), mask, **more)


def reads_positions(case: Case) -> bool:
    """Whether transformers' class takes positions."""
    return "position_ids" in inspect.signature(case.theirs.forward).parameters


@each(ALONE)
@pytest.mark.parametrize("padding", ["right", "none"])
def test_token_types_and_positions_are_the_callers(case: Case, padding: str) -> None:
    models = kept_pair(case)
    call = inputs_for(case, models[0].config, padding)
    shape = call["input_ids"].shape
    if case.numbers.first.segments:
        call["token_type_ids"] = torch.randint(2, shape)
    if reads_positions(case):
        call["position_ids"] = torch.randint(models[0].config.max_position_embeddings, shape)
    same(models, call, call.get("attention_mask"))


@each([case for case in ALONE if case.static is None and reads_positions(case)])
def test_one_row_of_positions_serves_all_rows(case: Case) -> None:
    models = kept_pair(case)
    call = batch(models[0].config)
    call["position_ids"] = torch.randperm(call["input_ids"].size(1))[None]
    same(models, call, call["attention_mask"])


@each_padded(ALONE)
def test_embeddings_stand_in_for_ids(case: Case, padding: str) -> None:
    models = kept_pair(case)
    call: dict[str, Any] = inputs_for(case, models[0].config, padding)
    call["inputs_embeds"] = torch.randn(*call.pop("input_ids").shape, models[1].base.config.first.token_width)
    same(models, call, call.get("attention_mask"))


@each(BARE)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32], ids=str)
def test_a_mask_may_be_of_any_dtype(case: Case, dtype: torch.dtype) -> None:
    models = kept_pair(case)
    call = batch(models[0].config)
    mask = call["attention_mask"]
    theirs, ours = models
    # Transformers' convolution subtracts the mask from 1, which PyTorch does with numbers only.
    told = mask if ours.base.convolution and dtype is torch.bool else mask.to(dtype)
    with torch.no_grad():
        expected = theirs(**{**call, "attention_mask": told})
        same_output(ours(**{**call, "attention_mask": mask.to(dtype)}), expected, mask, mask)


@each(CASES)
def test_without_a_mask_padding_is_a_token_like_others(case: Case) -> None:
    models = kept_pair(case)
    call = inputs_for(case, models[0].config)
    del call["attention_mask"]
    same(models, call, None)


@each(BARE)
def test_a_mask_may_have_holes(case: Case) -> None:
    models = kept_pair(case)
    call = batch(models[0].config)
    call["attention_mask"][:, 3] = 0
    mask = call["attention_mask"]
    same(models, call, mask, encoder_mask=mask)


@each([case for case in BARE if case.decodes])
@pytest.mark.parametrize("decoder", [False, True], ids=["encoder", "decoder"])
def test_a_mask_may_say_who_looks_at_whom(case: Case, decoder: bool) -> None:
    models = kept_pair(case, is_decoder=decoder)
    call = batch(models[0].config, "none")
    rows, length = call["input_ids"].shape
    seen = (torch.rand(rows, length, length) < 0.5) | torch.eye(length, dtype=torch.bool)
    same(models, {**call, "attention_mask": seen.long()}, None)


@each(CASES)
def test_a_batch_may_be_one_token(case: Case) -> None:
    theirs, ours = kept_pair(case)
    call = {name: value[..., -1:] for name, value in inputs_for(case, theirs.config, "none").items()}
    call = {name: value[:1] for name, value in call.items()}
    same((theirs, ours), call, None)


@each(CASES)
def test_what_the_config_asks_for_is_returned(case: Case) -> None:
    asked = {"output_hidden_states": True, "output_attentions": True, "attn_implementation": "eager"}
    models = kept_pair(case, **asked)
    same(models, inputs_for(case, models[0].config, "none"), None)


@each([case for case in CASES if not case.alone and case.head_type == "classification"])
@pytest.mark.parametrize("padding", ["right", "none"])
def test_a_row_is_classified_by_its_last_end(case: Case, padding: str) -> None:
    models = kept_pair(case)
    call = batch(models[0].config, padding)
    call["input_ids"][:, 0] = models[0].config.eos_token_id
    if padding == "right":
        call = {name: value[[0, 1, 3]] for name, value in call.items()}  # the other row has room for one
    same(models, call, None, encoder_mask=call.get("attention_mask"))


def decoder_call(config: Any, padding: str) -> dict[str, Tensor]:
    """An encoder's batch, and a decoder's of another length."""
    said = batch(config, padding, length=7)
    return {**batch(config), **{f"decoder_{name}": value for name, value in said.items()}}


@each(PAIRED)
@pytest.mark.parametrize("padding", ["right", "left", "none"])
def test_a_decoder_has_ids_and_a_mask_of_its_own(case: Case, padding: str) -> None:
    models = kept_pair(case)
    call = decoder_call(models[0].config, padding)
    mask = call.get("decoder_attention_mask")
    same(models, call, mask, encoder_mask=call["attention_mask"])


@each(PAIRED)
def test_a_decoders_ids_go_before_its_labels(case: Case) -> None:
    models = kept_pair(case)
    call = decoder_call(models[0].config, "none")
    labels = labels_for(case, models[0].config, {"input_ids": call["decoder_input_ids"]})
    same(models, {**call, **labels}, None, encoder_mask=call["attention_mask"])


@each(PAIRED)
def test_embeddings_stand_in_for_ids_of_both_stacks(case: Case) -> None:
    models = kept_pair(case)
    call: dict[str, Any] = decoder_call(models[0].config, "right")
    for stack in ("", "decoder_"):
        shape = call.pop(f"{stack}input_ids").shape
        call[f"{stack}inputs_embeds"] = torch.randn(*shape, models[0].config.d_model)
    same(models, call, call["decoder_attention_mask"], encoder_mask=call["attention_mask"])


@each(PAIRED)
@pytest.mark.parametrize("kind", ["output", "tuple"])
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
def test_an_encoders_output_computed_before_stands_in_for_its_input(case: Case, kind: str, masked: bool) -> None:
    models = kept_pair(case)
    call: dict[str, Any] = decoder_call(models[0].config, "none")
    rows, length = call.pop("input_ids").shape
    mask = call["attention_mask"] if masked else call.pop("attention_mask") * 0 + 1
    hidden = torch.randn(rows, length, models[0].config.d_model)
    output = transformers.modeling_outputs.BaseModelOutput(hidden)
    call["encoder_outputs"] = output if kind == "output" else (hidden,)
    same(models, call, None, encoder_mask=mask)


@each([case for case in PAIRED if case.static is None])
def test_running_the_stacks_one_after_the_other_is_running_both(case: Case) -> None:
    _, ours = kept_pair(case)
    call = decoder_call(ours.config, "right")
    with torch.no_grad():
        both = ours(**call)
        call.pop("input_ids")
        later = ours(**call, encoder_outputs=(both.encoder_last_hidden_state,))
    close(later.last_hidden_state, both.last_hidden_state)
