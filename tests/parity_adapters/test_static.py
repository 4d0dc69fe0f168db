"""Fixed heads become flexible through files: those of transformers' classes here, ours there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from adapterzoo.inputs import decoder_start
from tests.helpers import adapting
from tests.helpers.answers import answer, same_answers
from tests.helpers.hf_models import CASES, Case, each
from tests.helpers.peer_adapters import add_random, our_model, peer_model, peer_static, save_hf
from tests.helpers.static_cases import converted, each_fixed, fixed, labelled

ADAPTER = "double_seq_bn[reduction_factor=4]"
SHARED = [case for case in fixed() if case.name in converted()]


def test_every_class_that_the_peer_makes_flexible_is_here() -> None:
    bases = {case.architecture.name + part for case in CASES for part in ("For", "LMHead", "Decoder")}
    wanted = {name for name in converted() if name.startswith(tuple(bases))}
    assert wanted and wanted == {case.name for case in SHARED}


@each_fixed(SHARED)
def test_an_adapter_of_transformers_fixed_class_brings_its_head_to_our_flexible_one(
    case: Case, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = save_hf(case, tmp_path / "model", **changes)
    theirs = peer_static(case, folder)
    add_random(theirs, "test", ADAPTER)
    theirs.set_active_adapters("test")
    theirs.save_adapter(str(tmp_path / "adapter"), "test")
    ours = our_model(case.architecture, folder, convert_head=False)
    assert not list(ours.heads)
    ours.load_adapter(tmp_path / "adapter", set_active=True)
    assert ours.active_head == "test"
    inputs = labelled(case, theirs.config)
    same_answers(answer(ours, inputs), answer(theirs, inputs), inputs)
    if case.head_type in ("classification", "tagging"):
        assert ours.get_labels_dict() == theirs.config.id2label


@each_fixed(fixed())
def test_an_adapter_of_our_fixed_class_brings_its_head_to_our_flexible_one(
    case: Case, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = save_hf(case, tmp_path / "model", **changes)
    source = saved(case, folder, tmp_path / "adapter")
    ours = our_model(case.architecture, folder, convert_head=False)
    ours.load_adapter(tmp_path / "adapter", set_active=True)
    inputs = labelled(case, source.config)
    same_answers(answer(ours, inputs), answer(source, inputs), inputs)


@each_fixed(SHARED)
def test_an_adapter_of_our_fixed_class_brings_its_head_to_the_peers_flexible_one(
    case: Case, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = save_hf(case, tmp_path / "model", **changes)
    source = saved(case, folder, tmp_path / "adapter")
    theirs = peer_model(case.architecture, folder)
    theirs.load_adapter(str(tmp_path / "adapter"), use_safetensors=True, set_active=True)
    assert theirs.active_head == "test"
    inputs = labelled(case, source.config)
    if case.head_type == "seq2seq_lm":  # else the peer makes the decoder's input of the encoder's, not of the labels
        config = source.config
        shifted = decoder_start(config, case.architecture.starts_with_last, inputs["labels"])
        inputs = {**inputs, "decoder_input_ids": shifted}
    known = "problem_type" not in changes  # which the peer forgets
    asked = inputs if known else {name: value for name, value in inputs.items() if name != "labels"}
    same_answers(answer(source, inputs), answer(theirs, asked), inputs, loss=known)


def saved(case: Case, folder: Path, target: Path) -> Any:
    """Return our model with a fixed head after saving an adapter; without the bias of BART's that the peer drops."""
    assert case.static is not None
    model = our_model(case.architecture, folder, case.static.suffix)
    if hasattr(model.head, "final_logits_bias"):
        model.head.final_logits_bias.zero_()
    adapting.add_random(model, "test", ADAPTER)
    model.set_active_adapters("test")
    model.save_adapter(target, "test")
    return model


@each(SHARED)
def test_files_of_both_hold_the_same_of_a_fixed_head(case: Case, tmp_path: Path) -> None:
    assert case.static is not None
    folder = save_hf(case, tmp_path / "model")
    theirs = peer_static(case, folder)
    theirs.save_head(str(tmp_path / "theirs"))
    our_model(case.architecture, folder, case.static.suffix).save_head(tmp_path / "ours")
    wanted = torch.load(tmp_path / "theirs" / "pytorch_model_head.bin", weights_only=True)
    found = load_file(tmp_path / "ours" / "model_head.safetensors")
    assert adapting.same_bits(dict(sorted(found.items())), dict(sorted(wanted.items())))
