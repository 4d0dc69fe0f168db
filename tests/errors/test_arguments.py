"""Arguments of a call, or of loading, that nobody reads: told before anything runs."""

from __future__ import annotations

import pytest
import torch

import adapterzoo.auto
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.auto import AutoBase
from adapterzoo.heads import PredictionHead
from tests.helpers.batches import batch_for
from tests.helpers.refusing import refuses
from tests.helpers.tiny import NAMES, class_ids, class_named, fixed_heads, tiny_config, tiny_model

LABELS = torch.tensor([0, 1, 0, 1])


@pytest.fixture(params=[(name, suffix) for name in NAMES for suffix in ("Model", "AdapterModel")])
def headless(request):
    """A model without a head: a bare one, and a flexible one."""
    return tiny_model(*request.param)


@pytest.fixture
def never_run(monkeypatch):
    """Whoever runs the network fails: arguments are checked before."""

    def fail(*args, **kwargs):
        raise AssertionError("the network has run")

    monkeypatch.setattr("adapterzoo.models.encode", fail)


def test_a_misspelt_argument_is_told_with_the_right_one(headless, never_run):
    said = f"no argument of {type(headless).__name__} named 'token_typ_ids'; there are"
    with refuses(TypeError, said, "did you mean 'token_type_ids'?", model=headless):
        headless(**batch_for(headless), token_typ_ids=torch.zeros(4, 8))


def test_labels_without_a_head_are_told(headless, never_run):
    for name in ("labels", "start_positions", "next_sentence_label"):
        said = f"{type(headless).__name__} has no active head, which is what reads {name!r}"
        with refuses(TypeError, said, model=headless):
            headless(**batch_for(headless), **{name: LABELS})


@pytest.mark.parametrize("architecture", NAMES)
def test_a_head_is_not_to_be_chosen_where_there_is_none(architecture, never_run):
    for static in ARCHITECTURES[architecture].classes:
        model = tiny_model(architecture, static)
        said = "no heads; an AdapterModel class does" if static is None else "one fixed head; an AdapterModel class has"
        with refuses(ValueError, f"{type(model).__name__} has {said}", model=model):
            model(**batch_for(model, decoder=static is None), head="mrpc")


def test_what_a_head_does_not_read_is_told_with_what_it_reads(model, never_run):
    said = f"no argument of {type(model).__name__} or its classification head named 'start_positions'; there are"
    with refuses(TypeError, said, "labels", model=model):
        model(**batch_for(model), start_positions=LABELS)
    with refuses(TypeError, "named 'label'; there are", "did you mean 'labels'?", model=model):
        model(**batch_for(model), label=LABELS)


@pytest.mark.parametrize(("architecture", "static"), fixed_heads(), ids=class_ids(fixed_heads()))
def test_a_fixed_head_s_arguments_are_checked_too(architecture, static, never_run):
    model = tiny_model(architecture, static)
    with refuses(TypeError, f"{type(model).__name__} or its", "named 'lables'; there are", model=model):
        model(**batch_for(model, decoder=False), lables=LABELS)


def test_labels_that_are_no_tensor_are_told(model, never_run):
    with refuses(TypeError, "labels must be a tensor, not a list", model=model):
        model(**batch_for(model), labels=[0, 1, 0, 1])


def test_every_head_of_several_must_read_an_argument(model, never_run):
    if "question_answering" not in model.architecture.heads:
        pytest.skip(f"every head of {model.architecture.name}'s reads labels")
    model.add_qa_head("qa")
    with refuses(TypeError, "its question_answering head named 'labels'", model=model):
        model(**batch_for(model), labels=LABELS, head=["mrpc", "qa"])


class Curious(PredictionHead):
    """A custom head that reads whatever it is given."""

    def __init__(self, model, head_name):
        super().__init__(head_name)

    def forward(self, outputs, cls_output=None, attention_mask=None, return_dict=False, **kwargs):
        return kwargs


def test_a_custom_head_reads_whatever_it_likes(model):
    model.register_custom_head("curious", Curious)
    model.add_custom_head("curious", "mine")
    assert model(**batch_for(model), colour="red", label=[1]) == {"colour": "red", "label": [1]}


@pytest.mark.parametrize("suffix", ["Model", "AdapterModel"])
@pytest.mark.parametrize("architecture", NAMES)
def test_an_option_of_loading_that_is_none_is_told(architecture, suffix, tmp_path):
    model = tiny_model(architecture, suffix)
    model.save_pretrained(tmp_path)
    kind = class_named(architecture, suffix)
    said = f"no argument, and no field of {type(model.config).__name__}, named 'num_label'; there are"
    with refuses(TypeError, said, "did you mean 'num_labels'?", folder=tmp_path):
        kind.from_pretrained(tmp_path, num_label=3)
    with refuses(TypeError, "with a config given, set its fields there, not by num_labels", folder=tmp_path):
        kind.from_pretrained(tmp_path, config=model.config, num_labels=3)
    for dtype in ("float23", "int64", torch.int64, 32):
        with refuses(ValueError, "dtype must be one of torch's floating-point dtypes or 'auto', not", folder=tmp_path):
            kind.from_pretrained(tmp_path, dtype=dtype)


@pytest.mark.parametrize("architecture", NAMES)
def test_an_option_of_another_class_is_told(architecture, tmp_path):
    tiny_model(architecture, "Model").save_pretrained(tmp_path)
    for static in ARCHITECTURES[architecture].classes:
        kind = class_named(architecture, static)
        with refuses(TypeError, f"{kind.__name__} takes no convert_head", folder=tmp_path):
            kind.from_pretrained(tmp_path, convert_head=True)
    with refuses(TypeError, "add_pooling_layer", folder=tmp_path):
        class_named(architecture, "AdapterModel").from_pretrained(tmp_path, add_pooling_layer=False)


AUTO = [kind for kind in vars(adapterzoo.auto).values() if isinstance(kind, type) and issubclass(kind, AutoBase)]
LACKING = [
    (auto, name)
    for auto in AUTO
    if auto.head_types
    for name in NAMES
    if not any(static.head_type in auto.head_types for static in ARCHITECTURES[name].statics)
]


@pytest.mark.parametrize(("auto", "architecture"), LACKING, ids=str)
def test_a_class_that_an_architecture_has_not_is_told_with_those_it_has(auto, architecture):
    kind = ARCHITECTURES[architecture]
    there = [kind.class_name(static) for static in kind.statics]
    with refuses(ValueError, f"there is no {auto.__name__} for {architecture}; there are", *there):
        auto.from_config(tiny_config(architecture))


@pytest.mark.parametrize("auto", AUTO)
def test_an_auto_class_makes_models_of_configs_alone_and_is_none_itself(auto):
    for config in ({"model_type": "bert"}, "bert", None):
        with refuses(TypeError, f"{auto.__name__} needs a config such as BertConfig(…), not"):
            auto.from_config(config)
    with refuses(TypeError, f"make a model with {auto.__name__}.from_pretrained(…) or .from_config(…)"):
        auto()
