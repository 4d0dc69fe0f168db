"""A flexible model made fixed is a checkpoint of transformers' class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adapterzoo import zoo
from tests.helpers.hf_batches import inputs_for, labels_for
from tests.helpers.hf_compare import same_output
from tests.helpers.hf_files import config_of
from tests.helpers.hf_models import CASES, Case, each, peer
from tests.helpers.tiny import randomise

HEADS = [case for case in CASES if case.static is not None]


@each(HEADS)
def test_transformers_opens_it_and_gives_the_same(case: Case, tmp_path: Path) -> None:
    peer(case).save_pretrained(tmp_path / "theirs")
    flexible = zoo.CLASSES[f"{case.architecture.name}AdapterModel"].from_pretrained(
        tmp_path / "theirs", convert_head=False
    )
    assert case.static is not None
    flexible.add_prediction_head_from_config("mine", case.static.flexible(flexible.config))
    randomise(flexible.heads["mine"])  # and with it the embedding that some share
    flexible.to_static(class_name=case.name).save_pretrained(tmp_path / "ours")
    assert config_of(tmp_path / "ours")["architectures"] == [case.name]
    theirs, report = case.theirs.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    call = inputs_for(case, theirs.config, "none")
    call |= labels_for(case, theirs.config, call)
    with torch.no_grad():
        same_output(flexible(**call), theirs.eval()(**call))


@each([case for case in HEADS if case.head_type == "classification"])
@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_problem_and_labels_travel(case: Case, problem: str, tmp_path: Path) -> None:
    theirs = peer(case, problem_type=problem, num_labels=3)
    theirs.config.id2label = {0: "no", 1: "yes", 2: "perhaps"}
    theirs.save_pretrained(tmp_path / "theirs")
    ours = zoo.CLASSES[case.name].from_pretrained(tmp_path / "theirs")
    ours.to_flexible().to_static().save_pretrained(tmp_path / "ours")
    again = case.theirs.from_pretrained(tmp_path / "ours").eval()
    assert again.config.problem_type == problem
    assert again.config.id2label == theirs.config.id2label
    call = inputs_for(case, theirs.config, "none")
    labels = torch.rand(len(call["input_ids"]), 3)
    with torch.no_grad():
        assert torch.equal(again(**call, labels=labels).loss, theirs.eval()(**call, labels=labels).loss)
