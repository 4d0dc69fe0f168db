"""A checkpoint with a fixed head becomes a model with a flexible one, and gives what transformers gives."""

from __future__ import annotations

from pathlib import Path

import torch

from adapterzoo import AutoAdapterModel
from tests.helpers.hf_batches import inputs_for, labels_for
from tests.helpers.hf_compare import close, same_output
from tests.helpers.hf_files import tensors_of
from tests.helpers.hf_models import CASES, Case, each, peer

HEADS = [case for case in CASES if case.static]
TASKS = [case for case in HEADS if not case.static.pretraining]
NO_TASKS = [case for case in CASES if case.static is None or case.static.pretraining]


def same(case: Case, folder: Path, **options: bool) -> None:
    theirs = peer(case)
    theirs.save_pretrained(folder)
    ours = AutoAdapterModel.from_pretrained(folder, **options)
    assert list(ours.heads) == ["default"] and ours.active_head == "default"
    call = inputs_for(case, theirs.config, "none")
    call |= labels_for(case, theirs.config, call)
    with torch.no_grad():
        same_output(ours(**call), theirs(**call))


@each(TASKS)
def test_a_tasks_head_becomes_the_default_one(case: Case, tmp_path: Path) -> None:
    same(case, tmp_path)


@each(HEADS)
def test_every_head_becomes_the_default_one_if_asked_for(case: Case, tmp_path: Path) -> None:
    same(case, tmp_path, convert_head=True)


@each(NO_TASKS)
def test_what_has_no_task_has_no_head(case: Case, tmp_path: Path) -> None:
    theirs = peer(case)
    theirs.save_pretrained(tmp_path)
    ours, report = AutoAdapterModel.from_pretrained(tmp_path, output_loading_info=True)
    assert list(ours.heads) == [] and ours.active_head is None
    assert not any(name.startswith("head.") for name in report.missing_keys)
    call = inputs_for(case, theirs.config, "none")
    network = getattr(theirs, theirs.base_model_prefix, theirs)
    with torch.no_grad():
        found, expected = ours(**call), network(**call)
    close(found[0], expected[0])


@each(TASKS)
def test_a_head_that_is_not_wanted_is_left_out(case: Case, tmp_path: Path) -> None:
    peer(case).save_pretrained(tmp_path)
    ours, report = AutoAdapterModel.from_pretrained(tmp_path, convert_head=False, output_loading_info=True)
    assert list(ours.heads) == []
    prefix = f"{case.architecture.prefix}."
    assert set(report.unexpected_keys) == {name for name in tensors_of(tmp_path) if not name.startswith(prefix)}
