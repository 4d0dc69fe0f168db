"""Wrong names, tokenizers, references and files of embeddings: a clear error, and nothing is changed."""

from __future__ import annotations

import os
import shutil

import pytest
import safetensors.torch
import torch

from adapterzoo import AutoAdapterModel, FileError, UnknownName
from tests.errors.test_saving import STEPS, interrupted_everywhere, no_links
from tests.helpers.adapting import add_random, same_bits, tensors_of
from tests.helpers.refusing import files_of, refuses
from tests.helpers.tiny import NAMES, randomise, tiny_model
from tests.helpers.vocabularies import NEW, OLD, add_new, add_word_head, tokenizer_of, word_types


class Few:
    """A tokenizer whose vocabulary is told."""

    def __init__(self, **vocab):
        self.vocab = vocab

    def __len__(self):
        return len(self.vocab)

    def get_vocab(self):
        return self.vocab

    def save_pretrained(self, save_directory):
        raise OSError("no room for the tokenizer")


def with_another(architecture):
    """A model with the embedding "new" beside its own, which is active and tied to heads."""
    model = tiny_model(architecture)
    add_random(model, "mrpc", "seq_bn")
    model.set_active_adapters("mrpc")
    for kind in word_types(model):
        add_word_head(model, kind, kind)
    add_new(model).set_active_embeddings("default")
    return model


@pytest.fixture
def model():
    """Such a model of the first architecture, where the architecture makes no difference."""
    return with_another(NAMES[0])


@pytest.mark.parametrize("architecture", NAMES)
def test_names_that_are_not_there(architecture, tmp_path):
    model = with_another(architecture)
    calls = [
        lambda: model.set_active_embeddings("nwe"),
        lambda: model.delete_embeddings("nwe"),
        lambda: model.save_embeddings(tmp_path / "folder", "nwe"),
        lambda: model.embeddings_tokenizer("nwe"),
        lambda: model.add_embeddings("x", tokenizer_of(NEW), "nwe", tokenizer_of(OLD)),
    ]
    for call in calls:
        said = "no embedding named 'nwe'; there are default, new (did you mean 'new'?)"
        with refuses(UnknownName, said, model=model, folder=tmp_path):
            call()


@pytest.mark.parametrize(("name", "kind"), [("new", ValueError), ("default", ValueError), ("", ValueError)])
def test_names_that_are_taken_or_empty(model, name, kind, tmp_path):
    model.save_embeddings(tmp_path, "new")
    said = "must not be empty" if not name else f"already an embedding named {name!r}"
    for add in (
        lambda: model.add_embeddings(name, tokenizer_of(NEW)),
        lambda: model.load_embeddings(tmp_path, name),
    ):
        with refuses(kind, said, model=model):
            add()


def test_a_name_that_is_no_string(model):
    with refuses(TypeError, "an embedding's name is a string, not 3", model=model):
        model.add_embeddings(3, tokenizer_of(NEW))


def test_the_models_own_is_not_deleted(model):
    with refuses(ValueError, "'default' is the model's own", model=model):
        model.delete_embeddings("default")


def test_one_half_of_a_reference(model):
    with refuses(ValueError, "reference_embedding is given without reference_tokenizer", model=model):
        model.add_embeddings("x", tokenizer_of(NEW), reference_embedding="default")
    with refuses(ValueError, "reference_tokenizer is given without reference_embedding", model=model):
        model.add_embeddings("x", tokenizer_of(NEW), reference_tokenizer=tokenizer_of(OLD))


@pytest.mark.parametrize("architecture", NAMES)
def test_another_width(architecture):
    model = with_another(architecture)
    width = model.base.token.embedding_dim
    with refuses(ValueError, f"the width must be {width}", "not 16", model=model):
        model.add_embeddings("x", tokenizer_of(NEW), embedding_dim=16)
    model.add_embeddings("x", tokenizer_of(NEW), embedding_dim=width)


@pytest.mark.parametrize("wrong", ["a string", ["a", "list"], None, {"a": 1}], ids=["str", "list", "None", "dict"])
def test_what_is_no_tokenizer(model, wrong):
    with refuses(TypeError, "get_vocab()", type(wrong).__name__, model=model):
        model.add_embeddings("x", wrong)
    if wrong is not None:
        with refuses(TypeError, "get_vocab()", type(wrong).__name__, model=model):
            model.add_embeddings("x", tokenizer_of(NEW), "default", wrong)


def test_a_tokenizer_without_tokens_or_with_ids_below_0(model):
    with refuses(ValueError, "has no tokens", model=model):
        model.add_embeddings("x", Few())
    with refuses(ValueError, "the id -1", model=model):
        model.add_embeddings("x", Few(a=-1, b=0))


def test_a_reference_tokenizer_with_more_ids_than_its_embedding_has_rows(model):
    far = Few(a=0, b=2000)
    with refuses(ValueError, "ids up to 2000", "'new' has 41 rows", model=model):
        model.add_embeddings("x", tokenizer_of(NEW), "new", far)


def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows_is_not_saved_with_it(model, tmp_path):
    with refuses(ValueError, "ids up to 54", "41 rows", model=model, folder=tmp_path):
        model.save_embeddings(tmp_path / "folder", "new", tokenizer_of(OLD))


# ------------------------------------------------------------------------------------------------------------ files


@pytest.fixture
def saved(model, tmp_path):
    """A folder with the embedding "new" and its tokenizer."""
    model.save_embeddings(tmp_path, "new", tokenizer_of(NEW))
    return tmp_path


def test_where_there_is_none(model, tmp_path):
    with refuses(FileNotFoundError, "neither embedding.safetensors nor embedding.pt", "it has no files", model=model):
        model.load_embeddings(tmp_path, "x")
    with refuses(FileNotFoundError, "there is no directory", model=model):
        model.load_embeddings(tmp_path / "gone", "x")


BAD_TENSORS = {
    "no weight": (lambda width: {"heads.x.bias": torch.zeros(3)}, "no tensor 'weight'"),
    "another width": (lambda width: {"weight": torch.zeros(41, 7)}, "the width must be"),
    "one dimension": (lambda width: {"weight": torch.zeros(41)}, "its shape is (41,)"),
    "whole numbers": (lambda width: {"weight": torch.zeros(41, width, dtype=torch.long)}, "torch.int64"),
    "too few rows": (lambda width: {"weight": torch.zeros(40, width)}, "tokenizer beside it has ids up to 40"),
}


@pytest.mark.parametrize(("tensors", "said"), BAD_TENSORS.values(), ids=list(BAD_TENSORS))
@pytest.mark.parametrize("architecture", NAMES)
def test_tensors_that_are_no_embedding_of_the_model(architecture, tmp_path, tensors, said):
    model, saved = with_another(architecture), tmp_path
    model.save_embeddings(saved, "new", tokenizer_of(NEW))
    safetensors.torch.save_file(tensors(model.base.token.embedding_dim), saved / "embedding.safetensors")
    with refuses(FileError, "embedding.safetensors", said, model=model):
        model.load_embeddings(saved, "x")


def test_files_that_are_cut_short(model, saved):
    for name in ("embedding.safetensors", "tokenizer/tokenizer.json"):
        whole = (saved / name).read_bytes()
        (saved / name).write_bytes(whole[: len(whole) // 2])
        with refuses(ValueError, name, model=model):
            model.load_embeddings(saved, "x")
        (saved / name).write_bytes(whole)
    model.load_embeddings(saved, "x")


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


BAD_PICKLES = {
    "tensors by name": ({"weight": torch.zeros(41, 32)}, "should hold one tensor, not a dict"),
    "code": (Evil(), "no whole PyTorch file of tensors alone"),
    "another width": (torch.nn.Parameter(torch.zeros(41, 7)), "the width must be"),
}


@pytest.mark.parametrize(("content", "said"), BAD_PICKLES.values(), ids=list(BAD_PICKLES))
def test_a_pickle_that_is_no_embedding(model, tmp_path, content, said):
    torch.save(content, tmp_path / "embedding.pt")
    with refuses(FileError, "embedding.pt", said, model=model):
        model.load_embeddings(tmp_path, "x")


def test_a_pickle_only_if_that_is_allowed(model, tmp_path):
    rows = torch.ones(41, model.base.token.embedding_dim)
    torch.save(torch.nn.Parameter(rows), tmp_path / "embedding.pt")
    with refuses(FileError, "allow_pickle=True", model=model):
        model.load_embeddings(tmp_path, "x", allow_pickle=False)
    model.load_embeddings(tmp_path, "x")
    assert torch.equal(model.base.token.weight, rows)


def test_a_saved_model_whose_embedding_is_gone(model, tmp_path):
    model.save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / "embeddings" / "new")
    with refuses(FileNotFoundError, "embeddings/new", "which its config.json names"):
        AutoAdapterModel.from_pretrained(tmp_path)


SAVERS = {
    "save_pretrained": lambda model, folder: model.save_pretrained(folder),
    "save_embeddings": lambda model, folder: model.save_embeddings(folder, "new", tokenizer_of(NEW)),
}


@pytest.mark.parametrize("save", SAVERS.values(), ids=list(SAVERS))
@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
def test_interrupted_at_any_step_the_old_files_are_whole(monkeypatch, save, module, step, tmp_path):
    model = with_another(NAMES[0])
    model.set_active_embeddings("new")
    folder = tmp_path / "saved"
    save(model, folder)
    randomise(model)
    if step == "link":
        monkeypatch.setattr(os, "link", no_links)
        module, step = shutil, "copy2"
    old, state = files_of(folder), tensors_of(model)
    assert interrupted_everywhere(monkeypatch, module, step, lambda: save(model, folder), tmp_path) >= 1
    new = files_of(folder)
    assert sorted(new) == sorted(old) and new != old
    assert same_bits(tensors_of(model), state) and model.active_embeddings == "new"


def test_a_tokenizer_that_cannot_be_saved(model, tmp_path):
    model.add_embeddings("few", Few(a=0, b=1))
    for save in (lambda: model.save_pretrained(tmp_path), lambda: model.save_embeddings(tmp_path, "few", Few(a=0))):
        with refuses(OSError, "no room for the tokenizer", model=model, folder=tmp_path):
            save()
