"""A checkpoint goes from transformers through here and back without a bit, a name or a setting changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.hf_batches import batch, labels_for
from tests.helpers.hf_compare import same_gradients, same_output, same_weights
from tests.helpers.hf_files import tensors_of
from tests.helpers.hf_models import CASES, Case, cases, each, pair

PLAIN: dict[str, Any] = {}
LOOKING_BACK = {"is_decoder": True, "add_cross_attention": True}
VARIANTS = [(case, PLAIN) for case in CASES] + [(case, LOOKING_BACK) for case in CASES if case.decodes]
WORDS = cases("masked_lm", "causal_lm", "seq2seq_lm", "pretraining")


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Case) else "decoder" if value else "plain"


@pytest.mark.parametrize(("case", "changes"), VARIANTS, ids=name_of)
def test_a_checkpoint_comes_back_to_transformers_bit_for_bit(
    case: Case, changes: dict[str, Any], tmp_path: Path
) -> None:
    theirs, ours = pair(case, tmp_path / "there", **changes)
    same_weights(ours, theirs)
    ours.save_pretrained(tmp_path / "here")
    back, info = case.theirs.from_pretrained(tmp_path / "here", output_loading_info=True)
    assert {name: found for name, found in info.items() if found} == {}
    before, after = theirs.state_dict(), back.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@each(CASES)
def test_the_file_holds_the_names_that_transformers_writes(case: Case, tmp_path: Path) -> None:
    _, ours = pair(case, tmp_path / "there")
    ours.save_pretrained(tmp_path / "here")
    assert set(tensors_of(tmp_path / "here")) == set(tensors_of(tmp_path / "there"))


@each(WORDS)
def test_words_that_are_not_tied_have_weights_of_their_own(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path, tie_word_embeddings=False)
    same_weights(ours, theirs)
    call = batch(theirs.config)
    call |= labels_for(case, theirs.config, call)
    outputs = [model(**call) for model in (theirs, ours)]
    mask = None if case.head_type == "seq2seq_lm" else call["attention_mask"]
    same_output(outputs[1], outputs[0], mask, call["attention_mask"])
    for output in outputs:
        output["loss"].backward()
    same_gradients(ours, theirs)
    assert ours.head.decoder.weight is not ours.base.token.weight
