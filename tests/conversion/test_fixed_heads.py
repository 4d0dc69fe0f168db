"""`convert --to adapterzoo` makes a fixed head flexible, `--to hf` a flexible one fixed: bit for bit, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo import formats
from adapterzoo.conversion.differences import differences, flat
from tests.helpers.adapting import add_random, same_bits, tensors_of
from tests.helpers.converting import Command, command, contents, convert, edit_config, same_tensors, tensors_in
from tests.helpers.hf_models import CASES, Case, peer
from tests.helpers.tiny import tiny_model
from tests.helpers.vocabularies import add_new

__all__ = ["command"]  # a fixture
HEADS = [case for case in CASES if case.static is not None]
QUICK = [case for case in HEADS if case.architecture.model_type in ("bert", "bart", "electra")]
quick_first = pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case in QUICK else pytest.mark.slow) for case in HEADS]
)
"""Every class; the quick tests take those of three architectures, which have the most kinds of heads."""


def saved(case: Case, folder: Path) -> Path:
    """Save a small model of transformers' of that class."""
    peer(case).save_pretrained(folder)
    return folder


@quick_first
def test_there_and_back_not_a_byte_is_another(case: Case, tmp_path: Path) -> None:
    source = saved(case, tmp_path / "src")
    flexible = convert(source, tmp_path / "flexible", "--to", "adapterzoo")
    back = convert(flexible, tmp_path / "back", "--to", "hf", "--class", case.name)
    assert contents(back) == contents(convert(source, tmp_path / "direct"))


@quick_first
def test_what_is_made_tensor_by_tensor_is_what_a_loaded_model_saves(case: Case, tmp_path: Path) -> None:
    source = saved(case, tmp_path / "src")
    flexible = convert(source, tmp_path / "flexible", "--to", "adapterzoo")
    adapterzoo.AutoAdapterModel.from_pretrained(source, convert_head=True).save_pretrained(tmp_path / "saved")
    mine, yours = (dict(flat(formats.read(folder))) for folder in (flexible, tmp_path / "saved"))
    new = {name for name in yours if name not in mine}
    assert all(name.startswith("pooler.") for name in new), "a pooler that the class has not is made up when loaded"
    same_tensors(mine, {name: tensor for name, tensor in yours.items() if name not in new})
    told = [json.loads((folder / "config.json").read_text()) for folder in (flexible, tmp_path / "saved")]
    assert told[0] == told[1]


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A saved model with heads, adapters and a fusion."""
    torch.manual_seed(0)
    model = tiny_model("bert")
    for name in ("lora", "seq_bn", "prefix_tuning"):
        add_random(model, name)
    model.add_classification_head("rows", num_labels=3, layers=1, activation_function=None, use_pooler=True)
    model.add_classification_head("deep", num_labels=3)
    model.add_tagging_head("seq_bn", num_labels=3)
    model.add_masked_lm_head("en.wiki/2")
    model.add_adapter("other", "seq_bn")
    model.add_adapter_fusion(["seq_bn", "other"])
    model.set_active_adapters("lora")
    model.save_pretrained(tmp_path / "src")
    return tmp_path / "src"


@pytest.mark.parametrize("head", ["rows", "seq_bn", "en.wiki/2"])
def test_transformers_opens_it_and_all_else_goes_along(head: str, several: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    source = adapterzoo.AutoAdapterModel.from_pretrained(several)
    target = convert(several, tmp_path / "dst", "--to", "hf", "--head", head)
    kind = json.loads((target / "config.json").read_text())["architectures"][0]
    theirs, info = getattr(transformers, kind).from_pretrained(target, output_loading_info=True)
    over = info.pop("unexpected_keys")  # the pooler, which the flexible model had, and may have again
    assert not any(info.values()) and all(".pooler." in key for key in over), (info, over)
    ids = torch.randint(3, 60, (2, 7))
    source.set_active_adapters(None)
    with torch.no_grad():
        wanted = source(ids, head=head).logits
        assert torch.allclose(theirs.eval()(ids).logits, wanted, atol=1e-5)
        ours = getattr(adapterzoo, kind).from_pretrained(target)
        assert str(ours.active_adapters) == "Stack[lora]" and not torch.allclose(ours(ids).logits, wanted, atol=1e-3)
    again = adapterzoo.AutoAdapterModel.from_pretrained(target, convert_head=True)
    assert (set(again.heads), set(again.adapters), list(again.fusions)) == (
        set(source.heads),
        set(source.adapters),
        ["seq_bn,other"],
    )
    assert again.active_head == head
    for one in source.heads:
        assert same_bits(tensors_of(again.heads[one]), tensors_of(source.heads[one]))
    back = convert(target, tmp_path / "back", "--to", "adapterzoo")
    lines = differences(flat(formats.read(several)), flat(formats.read(back)))
    assert {line.state for line in lines} == {"equal"}


def test_of_several_heads_one_is_to_be_named(several: Path, tmp_path: Path, command: Command) -> None:
    done = command("convert", several, tmp_path / "dst", "--to", "hf")
    assert done.code == 1 and "--head: deep, en.wiki/2, rows, seq_bn" in done.err
    done = command("convert", several, tmp_path / "dst", "--to", "hf", "--head", "row")
    assert done.code == 1 and "did you mean 'rows'" in done.err
    done = command("convert", several, tmp_path / "dst", "--to", "adapterhub", "--head", "rows")
    assert done.code == 2 and "--head is for" in done.err
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=str)
def test_a_head_that_no_class_has_is_refused_with_the_reason(
    dry: list[str], several: Path, tmp_path: Path, command: Command
) -> None:
    done = command("convert", several, tmp_path / "dst", "--to", "hf", "--head", "deep", *dry)
    assert done.code == 1 and not (tmp_path / "dst").exists()
    assert "BertForSequenceClassification (layers is 1 there, not 2" in done.err
    done = command("convert", several, tmp_path / "dst", "--to", "hf", "--head", "rows", "--class", "BertForMaskedLM")
    assert done.code == 1 and "masked_lm" in done.err


def test_a_file_that_is_no_such_head_is_refused(several: Path, tmp_path: Path, command: Command) -> None:
    place = several / "heads" / "rows"
    content = formats.read(place)
    tensors = {name: tensor[:1].clone() for name, tensor in content.tensors.items()}
    formats.write(formats.Content("head", "adapterhub", content.config, tensors), place)
    done = command("convert", several, tmp_path / "dst", "--to", "hf", "--head", "rows")
    assert done.code == 1 and "classifier.weight: shape 1×32, but the model needs 3×32" in done.err
    formats.write(
        formats.Content(
            "head", "adapterhub", content.config, {**tensors, "heads.rows.9.x": tensors["heads.rows.1.bias"]}
        ),
        place,
    )
    done = command("convert", several, tmp_path / "dst", "--to", "hf", "--head", "rows")
    assert done.code == 1 and "heads.rows.9.x has no place" in done.err


def test_embeddings_stay_behind_and_it_is_told(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    model.add_tagging_head("t", num_labels=3, layers=1)
    add_new(model, "own")
    model.save_pretrained(tmp_path / "src")
    done = command("convert", tmp_path / "src", tmp_path / "dst", "--to", "hf")
    assert done.code == 0 and "embeddings/own stays behind" in done.out
    assert not (tmp_path / "dst" / "embeddings").exists()
    assert set(tensors_in(tmp_path / "dst")) > {"classifier.weight"}


def test_a_fixed_head_gets_the_name_that_is_asked_for(tmp_path: Path, command: Command) -> None:
    source = saved(next(case for case in HEADS if case.head_type == "classification"), tmp_path / "src")
    flexible = convert(source, tmp_path / "flexible", "--to", "adapterzoo", "--head", "mine")
    model = adapterzoo.AutoAdapterModel.from_pretrained(flexible)
    assert (list(model.heads), model.active_head) == (["mine"], "mine")
    back = convert(flexible, tmp_path / "back", "--to", "hf")
    assert adapterzoo.AutoAdapterModel.from_pretrained(back).active_head == "mine"
    edit_config(back, adapterzoo={"fixed_head": ["mine"]})
    done = command("convert", back, tmp_path / "again", "--to", "adapterzoo")
    assert done.code == 1 and "fixed_head" in done.err


def test_a_name_that_another_head_has_is_refused(several: Path, tmp_path: Path, command: Command) -> None:
    fixed = convert(several, tmp_path / "fixed", "--to", "hf", "--head", "rows")
    done = command("convert", fixed, tmp_path / "dst", "--to", "adapterzoo", "--head", "deep")
    assert done.code == 1 and "already a head 'deep'" in done.err


def test_a_bare_model_has_no_flexible_head(tmp_path: Path, command: Command) -> None:
    bare: Any = next(case for case in CASES if case.static is None)
    done = command("convert", saved(bare, tmp_path / "bare"), tmp_path / "dst", "--to", "adapterzoo", "--head", "a")
    assert done.code == 1 and "no fixed head" in done.err
