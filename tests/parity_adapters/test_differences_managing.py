"""Where the peer's merging, sharing and moving of adapters break laws that hold here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.comparing import assert_close
from tests.helpers.method_cases import MethodCase
from tests.helpers.peer_adapters import adapters, inputs_of, models
from tests.helpers.tiny import randomise
from tests.parity_adapters.test_averaging import BaseDir

BERT = ARCHITECTURES["bert"]
INPUTS = inputs_of(BERT)
MASK = INPUTS["attention_mask"].bool()


def pair(base_dir: BaseDir, *cases: MethodCase) -> tuple[Any, Any]:
    """Both libraries' models with adapters "a", "b", …"""
    theirs, ours = models(BERT, base_dir(BERT))
    for name, case in zip("abc", cases, strict=False):
        theirs.add_adapter(name, config=case.theirs)
        ours.add_adapter(name, case.ours)
        randomise(ours.adapters[name])
    return theirs, ours


def hidden(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(**INPUTS)[0][MASK]
    return out


def query(theirs: Any) -> torch.Tensor:
    """The first layer's query of the peer's."""
    weight: torch.Tensor = theirs.bert.encoder.layer[0].attention.self.query.weight.detach().clone()
    return weight


def test_what_is_merged_stays_so(base_dir: BaseDir) -> None:
    theirs, ours = pair(base_dir, MethodCase("lora", {"init_weights": "bert"}), MethodCase("seq_bn"))
    before = query(theirs)
    for model in (theirs, ours):
        model.merge_adapter("a")
    assert not torch.equal(query(theirs), before)
    merged = hidden(ours)
    for model in (theirs, ours):
        model.set_active_adapters(None)
    assert_close(hidden(ours), merged)
    assert_close(query(theirs), before)


def test_several_are_merged(base_dir: BaseDir) -> None:
    lora = MethodCase("lora", {"init_weights": "bert"})
    theirs, ours = pair(base_dir, lora, lora)
    ours.set_active_adapters(adapterzoo.Stack("a", "b"))
    expected = hidden(ours)
    ours.merge_adapter(["a", "b"])
    assert_close(hidden(ours), expected)
    theirs.merge_adapter("a")
    with pytest.raises(ValueError, match="already has a merged"):
        theirs.merge_adapter("b")


def test_what_was_shared_is_each_ones_own(base_dir: BaseDir) -> None:
    case = MethodCase("mtl_lora")
    theirs, ours = pair(base_dir, case, case)
    for model in (theirs, ours):
        model.share_parameters(["a", "b"])
        model.unshare_parameters(["a", "b"])
    loras = theirs.bert.encoder.layer[0].attention.self.query.loras
    assert loras["a"].lora_A is loras["b"].lora_A
    own = [ours.adapters[name].units["encoder-0-attn-q"].lora_A for name in "ab"]
    assert torch.equal(*own) and own[0].data_ptr() != own[1].data_ptr()


def test_ejected_prefixes_are_read_again(base_dir: BaseDir, tmp_path: Path) -> None:
    theirs, ours = pair(base_dir, MethodCase("prefix_tuning", {"prefix_length": 3, "bottleneck_size": 5}))
    for name, model in (("theirs", theirs), ("ours", ours)):
        model.set_active_adapters("a")
        model.eject_prefix_tuning("a")
        model.save_adapter(str(tmp_path / name), "a")
    assert not adapters().AdapterConfig.load(str(tmp_path / "theirs" / "adapter_config.json"))["flat"]
    with pytest.raises(ValueError, match="does not fit"):
        ours.load_adapter(tmp_path / "theirs", load_as="theirs")
    fresh, again = models(BERT, base_dir(BERT))
    again.load_adapter(tmp_path / "ours", set_active=True)
    assert_close(hidden(again), hidden(ours))
    fresh.load_adapter(str(tmp_path / "ours"), set_active=True, use_safetensors=True)
    assert_close(hidden(fresh), hidden(ours))


def test_an_adapter_of_another_dtype_acts(base_dir: BaseDir) -> None:
    theirs, ours = pair(base_dir, MethodCase("seq_bn"))
    for model in (theirs, ours):
        model.set_active_adapters("a")
    expected = hidden(ours)
    for model in (theirs, ours):
        model.adapter_to("a", dtype=torch.float64)
    assert_close(hidden(ours), expected)
    with pytest.raises(RuntimeError, match="dtype"):
        hidden(theirs)
