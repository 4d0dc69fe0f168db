"""A pair made of two checkpoints is the one that transformers makes of them, but for what is new in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from tests.helpers.hf_models import CASES, Case, peer, transformers
from tests.helpers.parts import ENCODERS

WORDS = {case.architecture.model_type: case for case in CASES if case.head_type == "causal_lm" and case.alone}
BARE = {case.architecture.model_type: case for case in CASES if case.static is None and case.alone}
NEW = ("crossattention", "enc_to_dec_proj")


def saved(case: Case, folder: Path, **changes: Any) -> Path:
    peer(case, **changes).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("decoder", WORDS)
@pytest.mark.parametrize("words", [True, False], ids=["with its head", "bare"])
def test_the_weights_are_those_that_transformers_takes(decoder: str, words: bool, tmp_path: Path) -> None:
    first = ENCODERS[len(decoder) % len(ENCODERS)].model_type
    one = saved(BARE[first], tmp_path / "encoder")
    two = saved((WORDS if words else BARE)[decoder], tmp_path / "decoder", hidden_size=24)
    theirs = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(one, two)
    ours = adapterzoo.EncoderDecoderModel.from_encoder_decoder_pretrained(one, two, decoder_start_token_id=3)
    assert ours.config.decoder_start_token_id == 3
    ours.save_pretrained(tmp_path / "ours")
    there = transformers.EncoderDecoderModel.from_pretrained(tmp_path / "ours").state_dict()
    head = () if words else ("cls.", "lm_head", "generator_")
    for name, tensor in theirs.state_dict().items():
        if not any(part in name for part in (*NEW, *head)):
            assert torch.equal(there[name], tensor), name
    assert all(tensor.isfinite().all() for tensor in there.values())


def test_the_flexible_pair_has_the_decoders_head(tmp_path: Path) -> None:
    case = WORDS["bert"]
    one, two = saved(BARE["bert"], tmp_path / "encoder"), saved(case, tmp_path / "decoder")
    pair = adapterzoo.EncoderDecoderAdapterModel.from_encoder_decoder_pretrained(one, two, decoder_start_token_id=3)
    fixed = case.ours.from_pretrained(two)
    assert pair.active_head == "default"
    state = fixed.head.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in pair.heads["default"].state_dict().items())


def test_what_is_no_pair_says_so(tmp_path: Path) -> None:
    folder = saved(BARE["bert"], tmp_path)
    with pytest.raises(TypeError, match="BertModel is no pair of two networks; EncoderDecoderModel"):
        adapterzoo.BertModel.from_encoder_decoder_pretrained(folder, folder)
