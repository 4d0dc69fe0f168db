"""DeBERTa's own: distances and their buckets, every option, its heads, and where it is meant to differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.core.config import RelativeConfig
from adapterzoo.nn.relative import row_of
from tests.helpers.hf_batches import ROWS, batch, labels_for
from tests.helpers.hf_compare import close, same_gradients, same_output
from tests.helpers.hf_files import tensors_of
from tests.helpers.hf_models import CASES, Case, cases, each, pair, transformers

V2 = ARCHITECTURES["deberta-v2"]
ALL = [case for case in CASES if case.distant]
BARE = [case for case in cases(None) if case.distant]
WORDS = [case for case in cases("masked_lm") if case.distant]
CLASSIFIERS = [case for case in cases("classification") if case.distant]
OPTIONS: tuple[dict[str, Any], ...] = (
    {"pos_att_type": []},
    {"pos_att_type": ["c2p"]},
    {"pos_att_type": "P2C"},
    {"max_relative_positions": 5},
    {"position_biased_input": False, "type_vocab_size": 2},
    {"embedding_size": 20, "type_vocab_size": 2},
)
OF_V2: tuple[dict[str, Any], ...] = (
    {"share_att_key": True},
    {"share_att_key": True, "position_buckets": -1, "pos_att_type": ["p2c"]},
    {"position_buckets": 7, "max_relative_positions": 6},
    {"norm_rel_ebd": "none | other", "conv_kernel_size": 0},
    {"conv_kernel_size": 5, "conv_groups": 4, "conv_act": "gelu"},
)
CHOSEN = [(case, one) for case in BARE for one in (*OPTIONS, *(OF_V2 if case.architecture is V2 else ()))]


# Told to tie weights, transformers ties the wrong matrix of this head, which shares the embedding in any case.
MODERN = {"legacy": False, "tie_word_embeddings": False}


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Case) else "-".join(value)


@pytest.mark.parametrize(("case", "changes"), CHOSEN, ids=name_of)
@pytest.mark.parametrize("padding", ["right", "none"])
def test_every_option_gives_transformers_outputs_and_gradients(
    case: Case, changes: dict[str, Any], padding: str, tmp_path: Path
) -> None:
    theirs, ours = pair(case, tmp_path, **changes)
    call = batch(theirs.config, padding)
    mask = call.get("attention_mask", torch.ones_like(call["input_ids"]))
    if theirs.config.type_vocab_size:
        call["token_type_ids"] = torch.randint(2, mask.shape)
    weights = torch.randn(*mask.shape, theirs.config.hidden_size)
    outputs = [model(**call) for model in (theirs, ours)]
    same_output(outputs[1], outputs[0], mask)
    for output in outputs:
        (output[0] * weights)[mask.bool()].sum().backward()
    same_gradients(ours, theirs)


@each(BARE)
@pytest.mark.parametrize("length", [1, 2, 3, 64, 150])
def test_without_positions_a_text_may_be_of_any_length(case: Case, length: int, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path, position_biased_input=False)
    ids = torch.randint(4, theirs.config.vocab_size, (2, length))
    with torch.no_grad():
        same_output(ours(ids), theirs(ids))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 700), st.integers(2, 300), st.integers(2, 600), st.booleans())
def test_the_row_of_every_distance_is_transformers(length: int, buckets: int, far: int, grouped: bool) -> None:
    from transformers.models.deberta_v2 import modeling_deberta_v2 as theirs

    far = max(far, buckets // 2 + 2)
    span = buckets if grouped else far
    tokens = torch.empty(length, 1)
    distances = theirs.build_relative_position(tokens, tokens, buckets if grouped else -1, far)[0]
    wanted = (distances + span).clamp(0, 2 * span - 1)
    places = torch.arange(length)
    found = row_of(places[:, None] - places, RelativeConfig(span=span, far=far if grouped else None))
    assert torch.equal(found, wanted)
    # What transformers looks up for keys and, the other way round, for queries is one and the same row.
    assert torch.equal((-distances + span).clamp(0, 2 * span - 1).T, wanted)


@each(WORDS)
@pytest.mark.parametrize("changes", [MODERN, {"embedding_size": 20}], ids=name_of)
def test_words_have_either_head(case: Case, changes: dict[str, Any], tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path / "there", **changes)
    call = batch(theirs.config)
    call |= labels_for(case, theirs.config, call)
    outputs = [model(**call) for model in (theirs, ours)]
    same_output(outputs[1], outputs[0], call["attention_mask"])
    for output in outputs:
        output["loss"].backward()
    same_gradients(ours, theirs)
    ours.save_pretrained(tmp_path / "here")
    assert set(tensors_of(tmp_path / "here")) == set(tensors_of(tmp_path / "there"))
    flexible = ours.to_flexible("words")
    with torch.no_grad():
        close(flexible(**call).logits, outputs[1].logits.detach())


@each(WORDS)
def test_either_head_goes_through_its_own_file(case: Case, tmp_path: Path) -> None:
    for number, changes in enumerate(({}, MODERN)):
        folder = tmp_path / str(number)
        _, ours = pair(case, folder / "model", **changes)
        ours.save_head(folder / "head")
        flexible = ours.to_flexible("words")
        flexible.load_head(folder / "head", load_as="again")
        first, again = (flexible.heads[name].state_dict() for name in ("words", "again"))
        assert list(first) == list(again) and all(torch.equal(first[key], again[key]) for key in first)


# ------------------------------------------------------------------------------------------ on purpose otherwise


@each(CLASSIFIERS)
def test_a_number_for_each_row_has_a_dimension_of_its_own(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path, num_labels=1)
    call = {**batch(theirs.config), "labels": torch.randn(ROWS)}
    found, wanted = ours(**call), theirs(**call)
    close(found.loss, wanted.loss)
    close(found.logits, wanted.logits[:, None])  # transformers drops it, where there are labels


@each(CLASSIFIERS)
def test_numbers_for_each_label_are_yes_or_no_as_in_every_other_model(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path)
    call = {**batch(theirs.config), "labels": torch.randint(2, (ROWS, 3)).float()}
    with torch.no_grad():
        found, unusual = ours(**call).loss, theirs(**call).loss
        theirs.config.problem_type = "multi_label_classification"
        close(found, theirs(**call).loss)
    assert (found - unusual).abs() > 1e-3, "the difference is gone"


@each(BARE)
def test_a_mask_may_say_who_looks_at_whom(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path)
    call = batch(theirs.config)
    mask = call.pop("attention_mask").bool()
    pairwise = mask[:, None] & mask[:, :, None]
    with torch.no_grad():
        wanted = theirs(**call, attention_mask=mask.long())[0]
        if not ours.base.convolution:  # which would look at padding
            close(ours(**call, attention_mask=pairwise)[0][mask], wanted[mask])
        with pytest.raises(RuntimeError):  # transformers multiplies embeddings with it
            theirs(**call, attention_mask=pairwise)


@each(BARE)
def test_a_token_type_means_nothing_to_a_model_that_has_none(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path)
    call = batch(theirs.config, "none")
    call["token_type_ids"] = torch.ones_like(call["input_ids"])  # as tokenizers tell of a second sentence
    with torch.no_grad():
        same_output(ours(**call), theirs(**call))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pos_att_type": ["p2p"]}, "pos_att_type must be some of 'c2p', 'p2c', each once, not ['p2p']"),
        ({"pos_att_type": ["c2p", "c2p"]}, "pos_att_type must be some of 'c2p', 'p2c', each once"),
        ({"talking_head": True}, "talking_head must be one of False, not True"),
        ({"pooler_hidden_size": 64}, "pooler_hidden_size must be 1536, as hidden_size has it, not 64"),
        ({"attention_head_size": 10}, "attention_head_size must be 64, as hidden_size has it, not 10"),
        ({"conv_kernel_size": 4}, "conv_kernel_size must be 0 or an odd number, not 4"),
        ({"conv_groups": 7}, "hidden_size must be divisible by conv_groups"),
        ({"position_buckets": 1}, "position_buckets must be 2 or more, or below 1 for none, not 1"),
        ({"position_buckets": 1100}, "position_buckets is 1100, for distances of 552 or more, not 512"),
        ({"share_att_key": "yes"}, "share_att_key must be True or False, not 'yes'"),
    ],
    ids=name_of,
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        V2.config(**changes)
    assert said in str(caught.value)


def test_fields_that_are_not_listed_are_kept_if_they_are_given() -> None:
    plain, told = V2.config(), V2.config(share_att_key=True)
    assert plain.share_att_key is False and "share_att_key" not in plain.to_dict()
    assert told.share_att_key is True and told.to_dict()["share_att_key"] is True
    plain.position_buckets = 256
    assert plain.to_dict()["position_buckets"] == 256
    assert transformers.DebertaV2Config(**plain.to_dict()).position_buckets == 256


@each(WORDS)
def test_the_newer_head_shares_the_embedding_however_words_are_tied(case: Case, tmp_path: Path) -> None:
    theirs, untied = pair(case, tmp_path, **MODERN)
    call = batch(theirs.config)
    tied = case.ours.from_pretrained(tmp_path, tie_word_embeddings=True)
    with torch.no_grad():
        assert torch.equal(tied(**call).logits, untied(**call).logits)
        assert tied.head.decoder.weight is tied.base.token.weight and untied.head.tied == tied.head.tied
        broken = case.theirs(type(theirs.config)(**{**theirs.config.to_dict(), "tie_word_embeddings": True}))
        with pytest.raises(RuntimeError):
            broken(**call)


def test_every_weight_has_the_dtype_that_is_asked_for(tmp_path: Path) -> None:
    case = BARE[0]
    pair(case, tmp_path)
    theirs = case.theirs.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in theirs.parameters()} == {torch.bfloat16, torch.float32}
    ours = case.ours.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.bfloat16}
