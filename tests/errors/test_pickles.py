"""PyTorch's own files: read only when the caller says so, and then for tensors alone. No code of theirs is ever run."""

from __future__ import annotations

import os
import pickle
import random

import pytest
import torch
from safetensors.torch import load_file

from adapterzoo import FileError
from adapterzoo.store import read_tensors
from tests.errors.conftest import furnished
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import saved_model
from tests.helpers.tiny import NAMES, class_named


class Bomb:
    """Makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


def write_pickle(path, evil):
    path.write_bytes(pickle.dumps({"weight": evil}))


def write_zip(path, evil):
    torch.save({"weight": torch.zeros(2), "evil": evil}, path)


def write_legacy(path, evil):
    torch.save({"weight": torch.zeros(2), "evil": evil}, path, _use_new_zipfile_serialization=False)


evil_file = pytest.mark.parametrize("write", [write_pickle, write_zip, write_legacy])
evil_thing = pytest.mark.parametrize("kind", [Bomb, Command])
NOT_TENSORS = "is no whole PyTorch file of tensors alone: "


@evil_thing
def test_what_is_called_malicious_here_is(kind, tmp_path):
    pickle.loads(pickle.dumps(kind(tmp_path / "done")))
    assert (tmp_path / "done").exists()


@pytest.fixture(params=NAMES)
def model_dir(request, tmp_path):
    """A saved model whose weights are a PyTorch file, and its class."""
    saved_model(tmp_path / "model", request.param)
    path = tmp_path / "model" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    return tmp_path / "model", class_named(request.param, "AdapterModel")


def test_a_pickled_model_is_read_only_if_the_caller_says_so(model_dir):
    folder, kind = model_dir
    said = [
        "pytorch_model.bin is a PyTorch file, in pickle's format",
        "allow_pickle=True",
        "weights_conversion convert",
    ]
    with refuses(FileError, *said, folder=folder):
        kind.from_pretrained(folder)
    assert kind.from_pretrained(folder, allow_pickle=True).base.token.num_embeddings == 60


@evil_file
@evil_thing
def test_a_malicious_model_is_refused_and_does_nothing(model_dir, write, kind, tmp_path):
    folder, model_class = model_dir
    write(folder / "pytorch_model.bin", kind(tmp_path / "done"))
    for allow, said in ((False, "allow_pickle=True"), (True, NOT_TENSORS)):
        with refuses(FileError, "pytorch_model.bin", said, folder=tmp_path):
            model_class.from_pretrained(folder, allow_pickle=allow)
    assert not (tmp_path / "done").exists()


@pytest.fixture(params=NAMES)
def adapter_dir(request, tmp_path):
    """A furnished model, and where its adapter and head "mrpc" lie as PyTorch files, as AdapterHub's are."""
    model = furnished(request.param)
    folder = tmp_path / "mrpc"
    model.save_adapter(folder, "mrpc")
    for safe, pickled in (("adapter.safetensors", ADAPTER), ("model_head.safetensors", HEAD)):
        torch.save(load_file(folder / safe), folder / pickled)
        (folder / safe).unlink()
    return model, folder


ADAPTER, HEAD = "pytorch_adapter.bin", "pytorch_model_head.bin"


def test_a_pickled_adapter_is_not_read_if_the_caller_says_no(adapter_dir):
    model, folder = adapter_dir
    with refuses(FileError, ADAPTER, "allow_pickle=True", model=model, folder=folder):
        model.load_adapter(folder, load_as="new", allow_pickle=False)
    with refuses(FileError, HEAD, "allow_pickle=True", model=model, folder=folder):
        model.load_head(folder, load_as="new", allow_pickle=False)
    assert model.load_adapter(folder, load_as="new") == "new"
    assert "new" in model.heads


@evil_file
@evil_thing
@pytest.mark.parametrize("file", [ADAPTER, HEAD])
def test_a_malicious_adapter_or_head_is_refused_and_does_nothing(adapter_dir, write, kind, file, tmp_path):
    model, folder = adapter_dir
    write(folder / file, kind(tmp_path / "done"))
    for name in ("new", "mrpc"):
        with refuses(FileError, file, NOT_TENSORS, model=model, folder=tmp_path):
            model.load_adapter(folder, load_as=name)
    if file == HEAD:
        with refuses(FileError, file, NOT_TENSORS, model=model, folder=tmp_path):
            model.load_head(folder)
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], torch.zeros(2), {1: torch.zeros(2)}, {"a": 5}, {"state_dict": {"a": torch.zeros(2)}}, 5, None],
    ids=repr,
)
def test_a_file_of_something_else_than_tensors_by_name_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.bin")
    with refuses(FileError, "x.bin holds something else than tensors by name"):
        read_tensors(tmp_path / "x.bin", allow_pickle=True)


def broken(data: bytes):
    """The file cut at many places, with bytes changed at many others, and things that never were one."""
    chance = random.Random(0)
    yield from (data[: len(data) * part // 12] for part in range(12))
    yield from (b"", b"PK\x03\x04", b"\x80\x02.", b"\x80\x02}q\x00.", b"garbage" * 50, bytes(range(256)) * 8)
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed)


@pytest.mark.parametrize("new", [True, False])
def test_however_a_file_is_broken_the_error_is_ours(tmp_path, new):
    path = tmp_path / "x.bin"
    torch.save({"a": torch.arange(12.0).view(3, 4), "b": torch.ones(2)}, path, _use_new_zipfile_serialization=new)
    refused = 0
    for data in broken(path.read_bytes()):
        path.write_bytes(data)
        try:
            read_tensors(path, allow_pickle=True)
        except FileError as error:
            refused += str(path) in str(error)
    assert refused > 20


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"not a file", bytes(range(256))])
def test_however_an_adapter_is_broken_the_model_is_as_before(adapter_dir, content):
    model, folder = adapter_dir
    (folder / ADAPTER).write_bytes(content)
    with refuses(FileError, NOT_TENSORS, model=model, folder=folder):
        model.load_adapter(folder)
