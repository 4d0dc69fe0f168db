"""What a save that was killed while files were being renamed has left: whoever comes next finishes it, safely."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from adapterzoo import AutoAdapterModel
from adapterzoo.journal import JOURNAL, begin, settle
from adapterzoo.writing import exchange, together, write_whole
from tests.errors.conftest import furnished
from tests.helpers.adapting import same_bits, tensors_of
from tests.helpers.refusing import files_of, refuses
from tests.helpers.tiny import NAMES, randomise, tiny_model


def waiting(folder, **contents):
    """Files that wait to be renamed, and the journal that lists them."""
    paths = [folder / f".{name}.abcd_123.tmp" for name in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        path.write_text(text)
    begin(folder, paths)


def test_files_that_wait_get_their_places(tmp_path):
    (tmp_path / "a").write_text("old")
    waiting(tmp_path, a="new", b="other")
    settle(tmp_path)
    assert files_of(tmp_path) == {"a": b"new", "b": b"other"}
    settle(tmp_path)


def test_what_is_renamed_already_is_let_be(tmp_path):
    waiting(tmp_path, a="new", b="other")
    os.replace(tmp_path / ".a.abcd_123.tmp", tmp_path / "a")
    settle(tmp_path)
    assert files_of(tmp_path) == {"a": b"new", "b": b"other"}


def test_a_part_that_is_read_by_itself_is_whole_too(tmp_path):
    model = furnished(NAMES[0])
    model.save_pretrained(tmp_path / "model")
    folder = tmp_path / "model" / "adapters" / "mrpc"
    randomise(model.adapters)
    model.save_pretrained(tmp_path / "new")
    names = [path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*") if path.is_file()]
    temporaries = [(tmp_path / "model" / name).with_name(f".{name.name}.abcd_123.tmp") for name in names]
    for name, temporary in zip(names, temporaries, strict=True):
        shutil.copyfile(tmp_path / "new" / name, temporary)
    begin(tmp_path / "model", temporaries)
    other = tiny_model(NAMES[0])
    other.load_adapter(folder)
    assert same_bits(tensors_of(other.adapters["mrpc"]), tensors_of(model.adapters["mrpc"]))
    assert not (tmp_path / "model" / JOURNAL).exists()
    assert same_bits(tensors_of(AutoAdapterModel.from_pretrained(tmp_path / "model")), tensors_of(model))


def test_who_writes_finishes_first_what_another_began(tmp_path):
    waiting(tmp_path, a="older", b="other")
    write_whole(tmp_path / "a", lambda name: Path(name).write_text("newest"))
    assert files_of(tmp_path) == {"a": b"newest", "b": b"other"}


BAD = ["", "{", "{}", "5", "[5]", '["a"]', "[[]]", "[" * 5000, json.dumps(["a.abcd_123.tmp"])]
BAD += [
    json.dumps([name]) for name in ("../.a.abcd_123.tmp", "/x/.a.abcd_123.tmp", ".a.abcd_123.old", ".a\0.abcd_123.tmp")
]


@pytest.mark.parametrize("text", BAD)
def test_a_journal_that_is_none_of_ours_moves_nothing(text, tmp_path):
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        (folder / ".a.abcd_123.tmp").write_text("new")
        (folder / ".a.abcd_123.old").write_text("old")
    (tmp_path / "in" / JOURNAL).write_text(text)
    with refuses(ValueError, f"{JOURNAL} lists no files of a save that was killed", folder=tmp_path):
        settle(tmp_path / "in")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_somebody_elses_journal_moves_nothing_of_ours(tmp_path):
    waiting(tmp_path, a="new")
    os.chown(tmp_path / JOURNAL, 65534, 65534)
    settle(tmp_path)
    assert files_of(tmp_path) == {".a.abcd_123.tmp": b"new"}


def test_what_may_not_be_renamed_is_told(tmp_path):
    (tmp_path / "a").mkdir()
    waiting(tmp_path, a="new")
    with refuses(OSError, "was killed halfway, and what is left of it cannot be done", folder=tmp_path):
        settle(tmp_path)


def test_files_far_from_each_other_have_one_journal(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("adapterzoo.journal.begin", lambda root, temporaries: begun.append(root))
    with together():
        for name in ("a/x", "b/c/y"):
            write_whole(tmp_path / name, lambda place: Path(place).write_text(""))
    assert begun == [tmp_path]


def test_two_folders_change_places(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    done = exchange(tmp_path / "a", tmp_path / "b")
    first, second = ("b", "a") if done else ("a", "b")
    assert (tmp_path / "a" / first).read_text() == first and (tmp_path / "b" / second).read_text() == second
    with pytest.raises(OSError, match="No such file"):
        if not exchange(tmp_path / "a", tmp_path / "gone"):
            raise OSError("No such file: this system cannot")
