"""A head's files that are none or do not fit: neither the head is loaded, nor the adapter that it lies beside."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch

from adapterzoo import FileError
from adapterzoo.formats import adapterhub
from adapterzoo.heads import PredictionHead
from tests.errors.conftest import furnished
from tests.helpers.adapting import add_random
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import BROKEN, edit_json, edit_tensors, keys_of
from tests.helpers.tiny import NAMES, class_ids, fixed_heads, tiny_model

CONFIG, WEIGHTS = adapterhub.HEAD_CONFIG, adapterhub.HEAD_WEIGHTS[0]


@pytest.fixture(params=NAMES)
def architecture(request):
    return request.param


@pytest.fixture
def model(architecture):
    return furnished(architecture)


@pytest.fixture
def src(architecture, tmp_path):
    """A saved adapter "mrpc" with a head of two labels beside it."""
    other = tiny_model(architecture)
    add_random(other, "mrpc", "lora[r=3]")
    other.add_classification_head("mrpc")
    other.save_adapter(tmp_path / "mrpc", "mrpc")
    return tmp_path / "mrpc"


def refused(model, src, error, *words):
    for name in (None, "new"):
        with refuses(error, *words, model=model, folder=src):
            model.load_adapter(src, load_as=name, set_active=True)
        with refuses(error, *words, model=model, folder=src):
            model.load_head(src, load_as=name)


def test_what_is_spoilt_here_was_good(model, src):
    assert model.load_head(src) == "mrpc"
    assert model.heads["mrpc"].config["num_labels"] == 2
    assert model.load_adapter(src, load_as="new") == "new" in model.heads


def test_an_adapter_beside_a_broken_head_loads_without_it(model, src):
    (src / WEIGHTS).write_bytes(b"")
    assert model.load_adapter(src, load_as="new", with_head=False) == "new"


def test_a_head_without_config_or_weights_is_told(model, src):
    (src / WEIGHTS).unlink()
    refused(
        model,
        src,
        FileNotFoundError,
        "has no head's tensors: neither model_head.safetensors nor pytorch_model_head.bin",
    )
    (src / CONFIG).unlink()
    with refuses(FileNotFoundError, "has no head_config.json; it has adapter.safetensors", model=model, folder=src):
        model.load_head(src)


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ("[]", "should hold a JSON object, not list")])
def test_a_config_that_is_no_json_object_is_told(model, src, content, said):
    (src / CONFIG).write_text(content)
    refused(model, src, FileError, CONFIG, said)


HEAD = {"head_type": "classification", "num_labels": 2, "layers": 2}
WRONG = [
    ({"config": 5}, "config is 5, not fields and values"),
    ({"config": ["classification"]}, "config is ['classification'], not fields and values"),
    ({"config": None, "model_class": None}, "there is neither a config nor a model_class that is a string"),
    ({"config": None, "model_class": "EvilModel"}, "no table makes a flexible head of EvilModel's"),
    ({"name": 5}, "name is 5, not a string"),
    ({"config": {**HEAD, "label2id": 5}}, "label2id must be a mapping from names to numbers, not 5"),
    ({"config": {**HEAD, "label2id": {"a": "0"}}}, "label2id must be a mapping from names to numbers"),
    ({"config": {**HEAD, "label2id": {"a": 0, "b": 0}}}, "label2id gives one number to several labels"),
    ({"config": {**HEAD, "label2id": {"a": 0, "b": 2}}}, "without gaps, not [0, 2]"),
    ({"config": {**HEAD, "label2id": {"a": 0, "b": 1, "c": 2}}}, "there are 2 labels, but id2label names 3"),
    ({"config": {**HEAD, "head_type": "clasification"}}, "'clasification'; there are"),
    ({"config": {"num_labels": 2}}, "None; there are"),
    ({"config": {**HEAD, "colour": "red"}}, "classification head: no setting 'colour'; there are"),
    ({"config": {**HEAD, "layers": "2"}}, "layers must be a whole number, not '2'"),
    ({"model_type": "gpt2"}, "its model_type is 'gpt2', but the model's is"),
    ({"hidden_size": 768}, "its hidden_size is 768, but the model's is 32"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[str(changes) for changes, _ in WRONG])
def test_a_wrong_entry_of_the_config_is_told(model, src, changes, said):
    edit_json(src / CONFIG, **changes)
    refused(model, src, ValueError, said)


class Odd(PredictionHead):
    """A custom head whose labels have gaps."""

    def __init__(self, model, head_name, id2label=None):
        super().__init__(head_name)
        self.config = {"label2id": {"yes": 0, "no": 5}}


def test_a_custom_head_that_cannot_be_added_keeps_the_adapter_out_too(model, src):
    model.register_custom_head("odd", Odd)
    edit_json(src / CONFIG, config={"head_type": "odd"})
    edit_tensors(src / WEIGHTS, lambda tensors: {})
    refused(model, src, ValueError, "without gaps, not [0, 5]")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_not_whole_is_told(model, src, kind):
    (src / WEIGHTS).write_bytes(BROKEN[kind]((src / WEIGHTS).read_bytes()))
    refused(model, src, FileError, str(src / WEIGHTS), "is no whole safetensors file: ")


def test_every_tensor_that_is_missing_or_misshaped_or_too_many_is_named(model, src):
    lost, *wrong = keys_of(src / WEIGHTS)

    def spoil(tensors):
        cut = {key: tensors[key][..., :-1] for key in wrong}
        return {**cut, "heads.mrpc.9.weight": torch.ones(2)}

    edit_tensors(src / WEIGHTS, spoil)
    said = [f"{key.removeprefix('heads.mrpc.')} has shape" for key in wrong]
    said += [f"{lost.removeprefix('heads.mrpc.')} is not there", "9.weight has no place here"]
    refused(model, src, ValueError, "the head 'mrpc' does not fit: ", *said)


def test_labels_that_do_not_count_up_are_refused_for_a_head_that_is_loaded(model, src):
    for id2label in ({0: "a"}, {0: "a", 2: "b"}, {0: "a", 1: "a"}, ["a", "b"]):
        with refuses(ValueError, "label", model=model, folder=src):
            model.load_head(src, id2label=id2label)


@pytest.fixture
def fixed(request, tmp_path):
    """A model with a fixed head, with its adapter and head in files."""
    model = tiny_model(*request.param)
    add_random(model, "mrpc", "lora[r=3]")
    model.save_adapter(tmp_path / "mrpc", "mrpc")
    return model, tmp_path / "mrpc"


def each_fixed(*head_types):
    classes = fixed_heads(*head_types)
    return pytest.mark.parametrize("fixed", classes, indirect=True, ids=class_ids(classes))


every_fixed = each_fixed()


@every_fixed
def test_a_fixed_head_is_refused_by_every_other_class(fixed):
    model, folder = fixed
    edit_json(folder / CONFIG, model_class="BertForEverything")
    said = f"the head was saved from BertForEverything; {type(model).__name__} takes only its own"
    with refuses(ValueError, said, model=model, folder=folder):
        model.load_head(folder)


@every_fixed
def test_every_tensor_of_a_fixed_head_that_does_not_fit_is_named(fixed):
    model, folder = fixed
    keys = keys_of(folder / WEIGHTS)
    edit_tensors(folder / WEIGHTS, lambda tensors: {f"x.{key}": tensor for key, tensor in tensors.items()})
    said = [f"x.{key} has no place here" for key in keys]
    said.append(f"the head of {type(model).__name__} does not fit: ")
    flexible = furnished(model.architecture.model_type)
    for load in (model.load_adapter, model.load_head):
        with refuses(ValueError, *said, model=model, folder=folder):
            load(folder)
    with refuses(ValueError, *said, model=flexible, folder=folder):
        flexible.load_head(folder, load_as="new")


@every_fixed
def test_a_fixed_head_needs_a_name_to_be_flexible(fixed):
    model, folder = fixed
    flexible = furnished(model.architecture.model_type)
    with refuses(
        ValueError, f"the head of {type(model).__name__} has no name; give it one", model=flexible, folder=folder
    ):
        flexible.load_head(folder)


@every_fixed
def test_a_head_of_another_architecture_is_refused(fixed):
    model, folder = fixed
    for other in NAMES:
        if other != model.architecture.model_type:
            said = f"its model_type is {model.architecture.model_type!r}, but the model's is {other!r}"
            with refuses(ValueError, said, folder=folder):
                kept(other).load_head(folder, load_as="new")


@cache
def kept(architecture):
    """A furnished model for every test that it only refuses something in."""
    return furnished(architecture)


@each_fixed("classification")
def test_a_fixed_head_of_other_labels_is_refused_by_its_own_class(fixed):
    model, folder = fixed
    count = model.config.num_labels
    content = json.loads((folder / CONFIG).read_text())
    edit_json(folder / CONFIG, label2id={**content["label2id"], "one more": count})
    said = f"the head in the file has {count + 1} labels, the model {count}"
    for load in (model.load_head, model.load_adapter):
        with refuses(ValueError, said, model=model, folder=folder):
            load(folder)
