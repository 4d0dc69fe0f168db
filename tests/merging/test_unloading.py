"""merge_and_unload: a plain model, which transformers opens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adapterzoo import Fuse, Stack, UnknownName
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, leaves
from tests.helpers.hf_models import Case
from tests.helpers.peer_adapters import inputs_of, our_model, save_hf
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, tiny_model

FIXED = [
    Case(kind, static)
    for kind in map(ARCHITECTURES.get, DISTINCT)
    for static in (*([None] if None in kind.classes else []), *kind.statics[:1])
]
"""The bare class, and one with a head."""


@pytest.mark.parametrize("case", FIXED, ids=[case.name for case in FIXED])
def test_transformers_opens_what_is_saved_and_computes_the_same(case: Case, tmp_path: Any) -> None:
    suffix = case.static.suffix if case.static else case.architecture.base
    model = our_model(case.architecture, save_hf(case, tmp_path / "base"), suffix)
    for kind in ("lora_all", "ia3"):
        add_random(model, kind)
    model.set_active_adapters(Stack("lora_all", "ia3"))
    inputs = inputs_of(case.architecture)
    with torch.no_grad():
        expected = model(**inputs)
        plain = model.merge_and_unload()
        assert plain is model and not plain.has_adapters() and plain.active_adapters is None
        assert plain.merged_adapters == () and not list(plain.originals.buffers())
        found = plain(**inputs)
    for name, tensor in leaves(expected).items():
        assert_close(leaves(found)[name], tensor, name)
    plain.save_pretrained(tmp_path / "merged")
    theirs = case.theirs.from_pretrained(tmp_path / "merged").eval()
    assert not any("adapter" in name for name in theirs.state_dict())
    with torch.no_grad():
        outputs = theirs(**inputs, return_dict=True)
    key = "logits" if "logits" in found else "last_hidden_state"
    mask = inputs.get("decoder_attention_mask", inputs["attention_mask"]).bool()
    first, second = found[key], outputs[key]
    real = first.shape[:2] == mask.shape and first.dim() == 3
    assert_close(first[mask] if real else first, second[mask] if real else second)


def test_named_adapters_are_merged_and_all_others_go() -> None:
    model = tiny_model("bert")
    for kind in ("lora", "ia3", "seq_bn"):
        add_random(model, kind)
    model.add_classification_head("head")
    batch = batch_for(model)
    model.set_active_adapters(Stack("lora", "ia3"))
    with torch.no_grad():
        expected = model(**batch).logits
    model.set_active_adapters("seq_bn")
    model.merge_adapter("lora")
    plain = model.merge_and_unload("ia3")
    assert list(plain.adapters) == [] and plain.active_head == "head"
    with torch.no_grad():
        assert_close(plain(**batch).logits, expected)
    plain.reset_adapter()
    with torch.no_grad():
        assert_close(plain(**batch).logits, expected)


def test_what_cannot_be_merged_is_not_dropped() -> None:
    model = tiny_model("bert")
    with refuses(ValueError, "name the adapters to merge: none is active; there are none", model=model):
        model.merge_and_unload()
    for kind in ("lora", "seq_bn"):
        add_random(model, kind)
    model.set_active_adapters(Stack("lora", "seq_bn"))
    with refuses(ValueError, "'seq_bn', encoder.0.mlp.join", model=model):
        model.merge_and_unload()
    with refuses(UnknownName, "no adapter named 'mrpc'", model=model):
        model.merge_and_unload("mrpc")
    with torch.no_grad():
        model.adapters["lora"].units["encoder-0-attn-v"].lora_B.fill_(torch.nan)
    with refuses(ValueError, "the weights would not be finite", model=model):
        model.merge_and_unload("lora")


def test_fusions_go_too() -> None:
    model = tiny_model("bert")
    for name in ("lora", "seq_bn", "par_bn"):
        add_random(model, name)
    model.add_adapter_fusion(Fuse("seq_bn", "par_bn"))
    plain = model.merge_and_unload("lora")
    assert not list(plain.fusions) and not list(plain.adapters)
