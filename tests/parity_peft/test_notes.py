"""PEFT opens files with our words in them without a word, computes the same, and leaves them out of what it writes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapterzoo import LoRAConfig
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.formats import peft as format_of
from adapterzoo.store import read_notes
from tests.helpers.adapting import CONFIGS, add_random, same_bits
from tests.helpers.heads import add_head
from tests.helpers.hf_models import Case
from tests.helpers.peft_adapters import opened, small_peer
from tests.helpers.tiny import tiny_model
from tests.parity_peft.test_methods import same_outputs

transformers = pytest.importorskip("transformers", reason="the peer `transformers` is not installed")
WEIGHTS = format_of.WEIGHTS[0]


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "lora_by_pattern"])
def test_a_note_is_nothing_to_peft(kind: str, tmp_path: Path) -> None:
    theirs, ours = small_peer(Case(ARCHITECTURES["bert"], None))
    add_random(ours, "a", CONFIGS[kind])
    ours.save_adapter(tmp_path / "ours", "a", to="peft")
    assert format_of.NOTE in read_notes(tmp_path / "ours" / WEIGHTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = opened(theirs, tmp_path / "ours")
    same_outputs(model, ours)
    model.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    assert format_of.NOTE not in read_notes(tmp_path / "theirs" / WEIGHTS)
    first, second = (dict(sorted(load_file(tmp_path / name / WEIGHTS).items())) for name in ("ours", "theirs"))
    assert same_bits(first, second)


def test_a_head_within_a_decoder_is_a_module_of_its_own(tmp_path: Path) -> None:
    """PEFT would save the whole decoder, and look for all of it in the file."""
    ours: Any = tiny_model("encoder-decoder")
    (static,) = ours.architecture.statics
    settings = static.flexible(ours.config)
    add_random(ours, "a", LoRAConfig(r=2, output_lora=True))
    add_head(ours, settings.pop("head_type"), "a", **settings)
    ours.active_head = "a"
    base = ours.to_static()
    base.delete_adapter("a")
    base.save_pretrained(tmp_path / "base")
    ours.save_adapter(tmp_path / "a", "a", to="peft")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = opened(theirs, tmp_path / "a")
    ours.set_active_adapters("a")
    ids = {"input_ids": torch.randint(5, 50, (2, 6)), "decoder_input_ids": torch.randint(5, 50, (2, 4))}
    with torch.no_grad():
        torch.testing.assert_close(ours(**ids).logits, model(**ids).logits, rtol=1e-5, atol=1e-5)
