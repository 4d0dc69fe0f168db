"""Checkpoints come in many files and under many names: what is loaded is always the same."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo.formats.hf import foreign_names
from adapterzoo.pretrained import CheckpointError
from adapterzoo.store import FileError
from tests.helpers.hf_compare import joined, matched, same_weights
from tests.helpers.hf_files import renamed, tensors_of, write
from tests.helpers.hf_models import CASES, Case, cases, each, pair, peer

SMALL_SHARDS = {"max_shard_size": "20KB"}
FILES = {
    "shards": (SMALL_SHARDS, "model.safetensors.index.json"),
    "pickle": ({"safe_serialization": False}, "pytorch_model.bin"),
    "pickled shards": ({**SMALL_SHARDS, "safe_serialization": False}, "pytorch_model.bin.index.json"),
}
DTYPES: list[Any] = [None, "auto", "float16", torch.bfloat16, torch.float64]


def loaded(case: Case, folder: Path, **options: Any) -> Any:
    """Our model of a checkpoint that fits it whole."""
    model, report = case.ours.from_pretrained(folder, output_loading_info=True, **options)
    assert (report.missing_keys, report.unexpected_keys) == ([], [])
    return model


@each(CASES)
@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_holds_the_same_weights(case: Case, kind: str, tmp_path: Path) -> None:
    options, file = FILES[kind]
    theirs = peer(case)
    theirs.save_pretrained(tmp_path, **options)
    assert (tmp_path / file).is_file() and not (tmp_path / "model.safetensors").exists()
    same_weights(loaded(case, tmp_path, allow_pickle="pickle" in kind), theirs)


def test_numbers_that_a_file_of_the_older_kind_does_not_list_are_missed(tmp_path: Path) -> None:
    case = cases(None)[0]
    theirs = peer(case)
    theirs.save_pretrained(tmp_path, safe_serialization=False)
    path = tmp_path / "pytorch_model.bin"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=False)
    same_weights(loaded(case, tmp_path, allow_pickle=True), theirs)
    whole = path.read_bytes()
    names = dict.fromkeys(re.findall(rb"X.\0{3}(\d{6,})", whole))  # of numbers, once for tied tensors
    sizes = {tensor.data_ptr(): tensor.numel() for tensor in theirs.state_dict().values()}
    assert len(names) == len(sizes)
    one, other, *_ = (
        name for name, size in zip(names, sizes.values(), strict=True) if size == theirs.config.hidden_size
    )
    path.write_bytes(one.join(whole.rsplit(other, 1)))  # where they are listed
    assert case.theirs.from_pretrained(tmp_path) is not None
    with pytest.raises(FileError, match="lacks the numbers of some of its tensors"):
        case.ours.from_pretrained(tmp_path, allow_pickle=True)


def rename_and_load(case: Case, folder: Path, change: Callable[[str], str]) -> None:
    """Assert that the same is loaded under other names, and that there are such."""
    theirs = peer(case)
    theirs.save_pretrained(folder)
    assert renamed(folder, change) > 0
    same_weights(loaded(case, folder), theirs)


@each(CASES)
def test_the_networks_names_may_have_the_prefix_of_heads_or_not(case: Case, tmp_path: Path) -> None:
    prefix = f"{case.architecture.prefix}."
    rename_and_load(case, tmp_path, lambda name: name.removeprefix(prefix) if case.static else prefix + name)


@each([case for case in CASES if any("LayerNorm" in str(row.theirs) for row in case.architecture.rows)])
def test_a_layer_norm_may_have_the_names_of_2018(case: Case, tmp_path: Path) -> None:
    def old(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    rename_and_load(case, tmp_path, old)


def aliases() -> list[Any]:
    """A class, a name that its checkpoints have, and another that they may have in its place."""
    return [
        pytest.param(case, space + row.parts[0], space + alias, id=f"{case.name}-{alias}")
        for case in CASES
        for space, keymap in (
            (f"{case.architecture.prefix}." if case.static else "", case.tables.keymap),
            *((("", case.static.keymap),) if case.static else ()),
        )
        for row in keymap.rows
        for alias in row.aliases
    ]


@pytest.mark.parametrize(("case", "name", "alias"), aliases())
def test_a_tensor_may_come_under_its_other_name_alone(case: Case, name: str, alias: str, tmp_path: Path) -> None:
    rename_and_load(case, tmp_path, lambda key: alias if key == name else key)


@each([case for case in CASES if case.architecture.unused])
def test_what_nobody_needs_is_no_surprise(case: Case, tmp_path: Path) -> None:
    theirs = peer(case)
    theirs.save_pretrained(tmp_path)
    space = f"{case.architecture.prefix}." if case.static else ""
    write(tmp_path, {**tensors_of(tmp_path), **{space + name: torch.zeros(1) for name in case.architecture.unused}})
    same_weights(loaded(case, tmp_path), theirs)


@each(cases(None, "masked_lm", "seq2seq_lm"))
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("asked", DTYPES, ids=str)
def test_weights_have_the_dtype_that_is_asked_for(case: Case, stored: torch.dtype, asked: Any, tmp_path: Path) -> None:
    peer(case).to(stored).save_pretrained(tmp_path)
    theirs = case.theirs.from_pretrained(tmp_path, dtype=asked or torch.float32)
    theirs.to(theirs.dtype)  # DeBERTa's biases are of float32 there, whatever is asked for
    ours = loaded(case, tmp_path, dtype=asked)
    same_weights(ours, theirs)
    assert {parameter.dtype for parameter in ours.parameters()} == {theirs.dtype}


# ------------------------------------------------------------------------------------------ other heads, other classes


def bare(case: Case) -> Case:
    return Case(case.architecture, None)


ZERO = {"final_logits_bias"}  # where a checkpoint lacks it, and nobody need be told
HEADS = [case for case in CASES if case.static]
WHOLE = [case for case in HEADS if case.static and not case.static.decoder_only]


def head_tensors(model: Any) -> set[str]:
    """Our names of a head's own tensors, those aside that are zero where a checkpoint lacks them."""
    return {f"head.{name}" for name in model.head.state_dict() if name not in model.head.tied | ZERO}


def same_network(ours: Any, other: Any) -> set[str]:
    """Assert that two models have the same network where both have it; returns the names of both."""
    first, second = ours.base.state_dict(), other.base.state_dict()
    both = set(first) & set(second)
    assert all(torch.equal(first[name], second[name]) for name in both)
    return both


@each(HEADS)
def test_a_head_that_a_bare_checkpoint_lacks_is_new_and_reported(
    case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, network = pair(bare(case), tmp_path)
    with caplog.at_level(logging.WARNING, "adapterzoo"):
        ours, report = case.ours.from_pretrained(tmp_path, output_loading_info=True)
    assert same_network(ours, network) == set(ours.base.state_dict())
    assert set(report.missing_keys) == head_tensors(ours)
    used = {part for name in ours.base.state_dict() for part in foreign_names(case.architecture, None, f"base.{name}")}
    assert set(report.unexpected_keys) == set(tensors_of(tmp_path)) - used
    assert all(name in caplog.text for name in report.missing_keys)
    assert all(tensor.isfinite().all() for tensor in ours.head.state_dict().values())


@each(HEADS)
def test_a_head_that_a_bare_model_has_no_place_for_is_reported(case: Case, tmp_path: Path) -> None:
    _, ours = pair(case, tmp_path)
    network, report = bare(case).ours.from_pretrained(tmp_path, output_loading_info=True)
    same = same_network(ours, network)
    assert set(report.missing_keys) == {f"base.{name}" for name in network.base.state_dict() if name not in same}
    assert all(name.startswith("base.pooler.") for name in report.missing_keys)
    theirs = {part for name in head_tensors(ours) for part in foreign_names(ours.architecture, case.static, name)}
    assert set(report.unexpected_keys) - ZERO == theirs


@each([case for case in HEADS if case not in WHOLE])
def test_a_decoder_alone_is_no_encoder_decoder(case: Case, tmp_path: Path) -> None:
    pair(case, tmp_path)
    for other in WHOLE:
        if other.architecture is case.architecture:
            with pytest.raises(
                ValueError, match=f"{other.name} has an encoder, too, but its config is that of a decod"
            ):
                other.ours.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"encoder\.0\.attn\.qkv\.weight is not there"):
        bare(case).ours.from_pretrained(tmp_path, is_encoder_decoder=True)


@each(WHOLE)
def test_a_checkpoint_fits_another_head_where_it_does_in_transformers(case: Case, tmp_path: Path) -> None:
    _, ours = pair(case, tmp_path)
    others = [other for other in WHOLE if other.architecture is case.architecture and other is not case]
    for other in others:
        if other.head_type == "question_answering" and ours.config.num_labels != 2:
            continue  # some of theirs insist on two labels, others make as many outputs as there are labels
        try:
            theirs, info = other.theirs.from_pretrained(tmp_path, output_loading_info=True)
        except RuntimeError:  # a tensor of another shape
            with pytest.raises(CheckpointError, match="shape"):
                other.ours.from_pretrained(tmp_path)
            continue
        another, report = other.ours.from_pretrained(tmp_path, output_loading_info=True)
        same_network(ours, another)
        assert set(report.unexpected_keys) == set(info["unexpected_keys"]), other.name
        there = dict(theirs.named_parameters(remove_duplicate=False))
        lost = {id(there[name]) for name in set(info["missing_keys"]) - ZERO}
        for name, parameter, parts in matched(another, theirs):
            assert (name in report.missing_keys) is (id(parts[0]) in lost), name
            assert name in report.missing_keys or torch.equal(parameter, joined(another, name, parts)), name


@each([case for case in cases(None) if case.numbers.pooler])
def test_the_pooler_may_be_left_out(case: Case, tmp_path: Path) -> None:
    _, ours = pair(case, tmp_path)
    without, report = case.ours.from_pretrained(tmp_path, add_pooling_layer=False, output_loading_info=True)
    same_network(ours, without)
    lost = [
        name for part in ("bias", "weight") for name in foreign_names(ours.architecture, None, f"base.pooler.{part}")
    ]
    assert report.unexpected_keys == lost
    assert not any("pooler" in name for name in without.state_dict())
    call = {"input_ids": torch.arange(5, 10)[None]}
    with torch.no_grad():
        assert list(without(**call).keys()) == ["last_hidden_state"]
        assert torch.equal(without(**call).last_hidden_state, ours(**call).last_hidden_state)
