"""Adapters are converted without their model as far as their files tell its sizes, and no further."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo import LoRAConfig
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.conversion import sizes
from adapterzoo.conversion.adapter_files import convert_adapter
from adapterzoo.conversion.sizes import MOST_LAYERS, MOST_LEFT_OUT
from adapterzoo.conversion.stand_ins import stand_ins
from adapterzoo.formats import Content, read
from adapterzoo.nn.transformer import Transformer
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.converting import Command, command, facts
from tests.helpers.matrix import differences
from tests.helpers.spoiling import edit_json
from tests.helpers.tiny import tiny_model

__all__ = ["command"]  # a fixture
LARGE = {"hidden_size": 40, "intermediate_size": 28, "vocab_size": 51, "num_hidden_layers": 5}
UNLIKE = {"d_model": 40, "encoder_layers": 3, "decoder_layers": 1, "encoder_ffn_dim": 28, "decoder_ffn_dim": 12}
SIZES = [("bert", LARGE), ("electra", {**LARGE, "embedding_size": 12}), ("bart", {**UNLIKE, "vocab_size": 51})]

LEFT_OUT = [("bert", (1,)), ("distilbert", (1,)), ("bart", (1,)), ("bart", (3,)), ("bart", (2, 3))]


def saved(architecture: str, kind: str, folder: Path, to: str = "adapterhub", **changes: Any) -> Any:
    model = tiny_model(architecture, **changes)
    add_random(model, "a", CONFIGS[kind])
    model.save_adapter(folder, "a", to=to)
    return model


@pytest.mark.parametrize("kind", ["bitfit", "seq_bn_inv", "prefix_tuning", "prefix_tuning_flat", "vera_all", "unipelt"])
@pytest.mark.parametrize(("architecture", "changes"), SIZES, ids=[name for name, _ in SIZES])
def test_an_adapter_of_any_sizes_needs_no_model(
    architecture: str, changes: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    saved(architecture, kind, tmp_path / "a", **changes)
    (tmp_path / "b").mkdir()
    convert_adapter(tmp_path / "a", tmp_path / "b", "adapterhub")
    before, after = read(tmp_path / "a"), read(tmp_path / "b")
    assert before.config == after.config
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(before.tensors[key], after.tensors[key]) for key in before.tensors)


@pytest.mark.parametrize("kind", ["lora_by_pattern", "vera", "vera_all", "ln_tuning", "prefix_tuning_flat"])
def test_pefts_adapters_of_any_sizes_are_looked_into(kind: str, tmp_path: Path, command: Command) -> None:
    model = saved("bert", kind, tmp_path / "a", "peft", **LARGE)
    told = facts(command, tmp_path / "a", "--model-type", "bert")
    assert told["sizes"]["width"] == 40
    assert told["parameters"] == sum(tensor.numel() for tensor in read(tmp_path / "a").tensors.values())
    network = stand_ins(read(tmp_path / "a"), "bert")[0].base.config
    assert network.layers == model.base.config.layers


def test_what_the_files_do_not_tell_stays_as_it_is_usually(tmp_path: Path) -> None:
    saved("bert", "lora", tmp_path, **LARGE)
    network = stand_ins(read(tmp_path), None)[0].base.config
    usual = ARCHITECTURES["bert"].network(ARCHITECTURES["bert"].config())
    assert (network.width, network.layers) == (40, 5)
    assert (network.encoder.inner, network.vocab) == (usual.encoder.inner, usual.vocab)


@pytest.mark.parametrize("to", ["adapterhub", "peft"])
def test_sums_with_a_models_own_values_are_no_values_without_it(to: str, tmp_path: Path) -> None:
    """LayerNorm tuning is the LayerNorm itself in PEFT's files, and what is added to it in AdapterHub's."""
    model = saved("bert", "ln_tuning", tmp_path / "a", "peft" if to == "adapterhub" else "adapterhub")
    model.save_pretrained(tmp_path / "base")
    for folder, base in (("b", None), ("c", tmp_path / "base")):
        (tmp_path / folder).mkdir()
        if base is None:
            with pytest.raises(ValueError, match="--base MODEL"):
                convert_adapter(tmp_path / "a", tmp_path / folder, to, model_type="bert")
            assert not list((tmp_path / folder).iterdir())
        else:
            convert_adapter(tmp_path / "a", tmp_path / folder, to, base=base)
            tensors = read(tmp_path / folder).tensors
            assert all(bool(tensors[key].isfinite().all()) for key in tensors)


@pytest.mark.parametrize(("architecture", "left_out"), LEFT_OUT)
def test_layers_that_were_left_out_stay_so(architecture: str, left_out: tuple[int, ...], tmp_path: Path) -> None:
    """Of the last layers that were, the files have no tensors; what is written must not mean them all the same."""
    model = tiny_model(architecture, **({"encoder_layers": 4} if len(left_out) > 1 else {}))
    add_random(model, "a", LoRAConfig(r=2, leave_out=left_out, alpha_pattern={"attn.q": 3}))
    model.save_adapter(tmp_path / "hub", "a")
    model.save_adapter(tmp_path / "peft", "a", to="peft")
    for source, to in (("hub", "hub"), ("hub", "peft"), ("peft", "peft")):
        target = tmp_path / f"{source} to {to}"
        target.mkdir()
        kind = architecture if source == "peft" else None
        convert_adapter(tmp_path / source, target, "peft" if to == "peft" else "adapterhub", "a", model_type=kind)
        assert not list(differences(read(tmp_path / to), read(target)))
    with pytest.raises(ValueError, match="for some layers alone, and how many the model has is not known"):
        convert_adapter(tmp_path / "peft", tmp_path, "adapterhub", model_type=architecture)


def test_heads_that_a_prefix_tells_go_along(tmp_path: Path) -> None:
    saved("bert", "prefix_tuning_flat", tmp_path / "a", "peft")
    (tmp_path / "b").mkdir()
    convert_adapter(tmp_path / "a", tmp_path / "b", "peft", name="a", model_type="bert")
    assert read(tmp_path / "b").config == read(tmp_path / "a").config
    edit_json(tmp_path / "a" / "adapter_config.json", num_attention_heads=7)  # of which the width is no multiple
    with pytest.raises(ValueError, match="num_attention_heads is 7"):
        convert_adapter(tmp_path / "a", tmp_path / "b", "peft", model_type="bert")


@pytest.mark.parametrize("width", [0, -3, "32", None, 2**70])
def test_a_width_that_is_none_is_told(width: Any, tmp_path: Path) -> None:
    saved("bert", "lora", tmp_path)
    edit_json(tmp_path / "adapter_config.json", hidden_size=width)
    assert stand_ins(read(tmp_path), None)[0].base.config.width == (32 if width is None else 768)
    if width is not None:
        with pytest.raises(ValueError, match="hidden_size"):
            convert_adapter(tmp_path, tmp_path, "adapterhub")


def test_nobody_makes_thousands_of_layers() -> None:
    content = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 2, "num_layers": 10**6, "token_dim": 8}
    prefix = {"prompt_embeddings": torch.zeros(2, 2 * 10**6 * 8, device="meta")}
    network = stand_ins(Content("adapter", "peft", content, prefix), "bert")[0].base.config
    assert network.layers <= MOST_LAYERS


def test_odd_names_are_not_taken_for_layers_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another name is wrong than a layer's number, no number of layers mends it: none is tried in vain."""
    made: list[Any] = []
    monkeypatch.setattr(sizes, "Transformer", lambda network: made.append(network) or Transformer(network))
    model = tiny_model("bart", encoder_layers=4)
    add_random(model, "a", LoRAConfig(r=2, leave_out=(2, 3)))
    model.save_adapter(tmp_path, "a")
    content = read(tmp_path)
    assert stand_ins(content, "bart")[0].base.config.layers == model.base.config.layers
    tried = len(made)
    odd = {f"{key}.more" if ".layers.0." in key else key: tensor for key, tensor in content.tensors.items()}
    stand_ins(replace(content, tensors=odd), "bart")
    assert 0 < tried < MOST_LEFT_OUT and len(made) - tried < MOST_LEFT_OUT
