"""Saving that is interrupted or cannot be: what was on disk is as before, and nothing is left beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from adapterzoo import AutoAdapterModel, UnknownName, streaming
from adapterzoo.writing import together, write_whole
from tests.errors.conftest import furnished
from tests.helpers.adapting import same_bits, tensors_of
from tests.helpers.refusing import files_of, refuses
from tests.helpers.tiny import NAMES, randomise, tiny_model

SAVERS = {
    "save_pretrained": lambda model, folder: model.save_pretrained(folder),
    "save_adapter": lambda model, folder: model.save_adapter(folder, "mrpc"),
    "save_head": lambda model, folder: model.save_head(folder, "mrpc"),
}
every_saver = pytest.mark.parametrize("save", SAVERS.values(), ids=list(SAVERS))


class Stop(Exception):
    """What interrupts."""


@every_saver
def test_a_file_where_the_folder_should_be_is_told(model, save, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for target in (file, file / "deeper" / "still"):
        with refuses(FileExistsError, f"{file} is a file, not a directory", model=model, folder=tmp_path):
            save(model, target)


@every_saver
def test_a_folder_where_a_file_should_be_is_told(model, save, tmp_path):
    save(model, tmp_path)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        with refuses(OSError, path.name, model=model, folder=tmp_path):
            save(model, tmp_path)
        path.rmdir()
        path.write_bytes(content)


@contextlib.contextmanager
def without_rights():
    """Run as somebody else than root, whom no file refuses."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@every_saver
def test_a_folder_that_may_not_be_written_is_told(one_model, save):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        for target in (folder, folder / "new"):
            with refuses(PermissionError, name, model=one_model, folder=folder), without_rights():
                save(one_model, target)
        folder.chmod(0o755)


def names_that_are_not_there(model):
    return [
        (lambda folder: model.save_adapter(folder, "gone"), "no adapter named 'gone'"),
        (lambda folder: model.save_head(folder, "gone"), "no head named 'gone'"),
    ]


def test_what_is_not_there_is_not_saved(model, tmp_path):
    for save, said in names_that_are_not_there(model):
        with refuses(UnknownName, said, model=model, folder=tmp_path):
            save(tmp_path / "new" / "folder")


def fail_at(monkeypatch, module, name, number):
    """Make the number-th call of a function fail; all others do what they do."""
    real, calls = getattr(module, name), []

    def function(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise Stop(f"{name} {number}")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, function)
    return calls


STEPS = [(streaming, "write"), (os, "fsync"), (os, "replace"), (os, "chmod"), (os, "link")]


def interrupted_everywhere(monkeypatch, module, step, attempt, folder):
    """Let `attempt` be interrupted at each call of a step, until it comes through; return how often it was."""
    for number in range(1, 100):
        with monkeypatch.context() as patch:
            calls = fail_at(patch, module, step, number)
            before = files_of(folder)
            try:
                attempt()
            except Stop:
                assert files_of(folder) == before, f"{step} {number}"
                continue
        assert len(calls) == number - 1
        return number - 1
    raise AssertionError("it never comes to an end")


def no_links(*args, **kwargs):
    raise OSError("this file system has no hard links")


@every_saver
@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
def test_interrupted_at_any_step_the_old_files_are_whole(monkeypatch, one_model, save, module, step, tmp_path):
    folder = tmp_path / "saved"
    save(one_model, folder)
    (folder / "notes.txt").write_text("mine")
    randomise(one_model)
    if step == "link":  # where there are no hard links, files are copied instead
        monkeypatch.setattr(os, "link", no_links)
        module, step = shutil, "copy2"
    old = files_of(folder)
    times = interrupted_everywhere(monkeypatch, module, step, lambda: save(one_model, folder), tmp_path)
    assert times >= 1
    new = files_of(folder)
    assert sorted(new) == sorted(old) and new != old and new["notes.txt"] == b"mine"


@every_saver
@pytest.mark.parametrize(("module", "step"), STEPS[:4], ids=[step for _, step in STEPS[:4]])
def test_interrupted_at_any_step_a_new_folder_is_not_there(monkeypatch, one_model, save, module, step, tmp_path):
    def attempt():
        save(one_model, tmp_path / "a" / "b" / "new")

    times = interrupted_everywhere(monkeypatch, module, step, attempt, tmp_path)
    assert times >= 1 and files_of(tmp_path / "a" / "b" / "new")


@pytest.mark.parametrize("architecture", NAMES)
def test_what_cannot_be_written_as_json_spoils_nothing(architecture, tmp_path):
    model = furnished(architecture)
    model.save_pretrained(tmp_path)
    model.heads["mrpc"].config["colour"] = object()
    for save in SAVERS.values():
        with refuses(TypeError, "not JSON serializable", folder=tmp_path):
            save(model, tmp_path)


@pytest.mark.parametrize("architecture", NAMES)
def test_a_model_is_saved_over_the_very_files_that_it_reads(architecture, tmp_path):
    furnished(architecture).save_pretrained(tmp_path)
    model = AutoAdapterModel.from_pretrained(tmp_path)
    with torch.no_grad():
        model.base.token.weight += 1
    expected = tensors_of(model)
    for _ in range(2):
        model.save_pretrained(tmp_path)
        assert same_bits(tensors_of(model), expected)
        assert same_bits(tensors_of(AutoAdapterModel.from_pretrained(tmp_path)), expected)
        model = AutoAdapterModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("architecture", NAMES)
def test_a_model_that_reads_files_outlives_others_that_are_saved_over_them(architecture, tmp_path):
    furnished(architecture).save_pretrained(tmp_path)
    model = AutoAdapterModel.from_pretrained(tmp_path)
    expected = tensors_of(model)
    tiny_model(architecture).save_pretrained(tmp_path)
    assert same_bits(tensors_of(model), expected)


def test_blocks_within_blocks_wait_for_the_outermost(tmp_path):
    with together():
        write_whole(tmp_path / "a", lambda name: Path(name).write_text("a"))
        with together():
            write_whole(tmp_path / "b", lambda name: Path(name).write_text("b"))
        assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert files_of(tmp_path) == {"a": b"a", "b": b"b"}
    with refuses(Stop, folder=tmp_path), together():
        write_whole(tmp_path / "a", lambda name: Path(name).write_text("other"))
        raise Stop
