"""Heads that cannot be: unknown types and settings, wrong labels, custom classes that are none."""

from __future__ import annotations

import pytest
from torch import nn

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.heads import HEADS, PredictionHead
from tests.helpers.refusing import refuses
from tests.helpers.tiny import NAMES, tiny_config, tiny_model

ADDERS = {
    "classification": "add_classification_head",
    "tagging": "add_tagging_head",
    "question_answering": "add_qa_head",
    "multiple_choice": "add_multiple_choice_head",
    "dependency_parsing": "add_dependency_parsing_head",
    "similarity": "add_similarity_head",
    "masked_lm": "add_masked_lm_head",
    "causal_lm": "add_causal_lm_head",
    "seq2seq_lm": "add_seq2seq_lm_head",
}


def lacking(by: str) -> list[tuple[str, str]]:
    """Each architecture with each built-in type of head that `by` of it does not list."""
    return [(name, kind) for name in NAMES for kind in HEADS if kind not in getattr(ARCHITECTURES[name], by)]


@pytest.mark.parametrize(("architecture", "kind"), [(name, kind) for name, kind in lacking("heads") if kind in ADDERS])
def test_a_head_that_the_architecture_has_not_is_told_with_those_it_has(architecture, kind):
    model = tiny_model(architecture)
    with refuses(ValueError, f"no head for {type(model).__name__} of type {kind!r}; there are", model=model):
        getattr(model, ADDERS[kind])("new")


@pytest.mark.parametrize(("architecture", "kind"), lacking("head_types"))
def test_no_detour_leads_to_a_head_that_the_architecture_has_not(architecture, kind):
    model = tiny_model(architecture)
    said = f"no head type for {type(model).__name__} {kind!r}; there are"
    with refuses(ValueError, said, *model.architecture.heads, model=model):
        model.add_custom_head(kind, "new")
    with refuses(ValueError, said, model=model):
        model.add_prediction_head_from_config("new", {"head_type": kind})


def test_an_unknown_type_is_told_with_those_there_are(model):
    with refuses(ValueError, "'clasification'; there are", "did you mean 'classification'?", model=model):
        model.add_custom_head("clasification", "new")
    with refuses(ValueError, "None; there are", model=model):
        model.add_prediction_head_from_config("new", {"num_labels": 2})
    with refuses(ValueError, "['classification']; there are", model=model):
        model.add_prediction_head_from_config("new", {"head_type": ["classification"]})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_labels": 0}, "num_labels must be above 0, not 0"),
        ({"num_labels": -1}, "num_labels must be above 0, not -1"),
        ({"num_labels": "3"}, "num_labels must be a whole number, not '3'"),
        ({"num_labels": 2.0}, "num_labels must be a whole number, not 2.0"),
        ({"layers": 0}, "layers must be above 0, not 0"),
        ({"layers": None}, "layers must be a whole number, not None"),
        ({"activation_function": "tahn"}, "activation_function must be an activation function ("),
        ({"activation_function": 5}, "activation_function must be a string or None, not 5"),
        ({"use_pooler": "no"}, "use_pooler must be True or False, not 'no'"),
        ({"num_labels": 2, "id2label": {0: "a"}}, "there are 2 labels, but id2label names 1"),
        ({"num_labels": 2, "id2label": {0: "a", 1: "b", 2: "c"}}, "there are 2 labels, but id2label names 3"),
        (
            {"num_labels": 2, "id2label": {0: "a", 2: "b"}},
            "id2label must name the labels 0, 1, … without gaps, not [0, 2]",
        ),
        ({"num_labels": 2, "id2label": {0: "a", 1: "a"}}, "several labels are named 'a'"),
        ({"num_labels": 2, "id2label": {0: "a", 1: 5}}, "labels' names must be strings, not 5"),
        ({"num_labels": 2, "id2label": ["a", "b"]}, "id2label must be a mapping from numbers to names, not ['a', 'b']"),
        ({"num_labels": 2, "id2label": {"zero": "a", "one": "b"}}, "id2label must be a mapping from numbers to names"),
    ],
)
def test_a_wrong_setting_is_told(model, settings, said):
    with refuses(ValueError, said, model=model):
        model.add_classification_head("new", **settings)
    with refuses(ValueError, said, model=model):
        model.add_prediction_head_from_config("new", {"head_type": "classification", **settings})


def test_all_wrong_settings_are_told_at_once(model):
    settings = {"num_lables": 2, "layers": 0, "dropout_prob": 1.5, "bias": 1}
    said = [
        "no setting 'num_lables'",
        "did you mean 'num_labels'?",
        "layers must be",
        "dropout_prob must be",
        "bias must",
    ]
    with refuses(ValueError, "classification head: ", *said, model=model):
        model.add_custom_head("classification", "new", **settings)


@pytest.mark.parametrize("kind", HEADS)
def test_no_built_in_head_takes_a_setting_that_it_does_not_know(kind):
    architecture = next(name for name in NAMES if kind in ARCHITECTURES[name].head_types)
    model = tiny_model(architecture)
    with refuses(ValueError, f"{kind} head: no setting 'colour'; there are", model=model):
        model.add_custom_head(kind, "new", colour="red")


@pytest.mark.parametrize("label2id", [5, ["a", "b"], {"a": "0"}, {0: "a"}, {"a": 0, "b": 0}])
def test_label2id_that_is_none_is_refused(model, label2id):
    with refuses(ValueError, "label2id", model=model):
        model.add_prediction_head_from_config("new", {"head_type": "classification", "label2id": label2id})


@pytest.mark.parametrize("architecture", NAMES)
def test_a_head_on_a_pooler_that_is_not_there_is_refused(architecture):
    model = tiny_model(architecture)
    if model.base.pooler is not None:
        model.base.pooler = None
    with refuses(ValueError, "the classification head reads the pooler's output, but", "has no pooler", model=model):
        model.add_classification_head("new", use_pooler=True)


class Plain(PredictionHead):
    """A custom head that takes one setting."""

    def __init__(self, model, head_name, colour="red"):
        super().__init__(head_name)
        self.config = {"colour": colour}


class Odd(PredictionHead):
    """A custom head whose labels have gaps."""

    def __init__(self, model, head_name):
        super().__init__(head_name)
        self.config = {"label2id": {"yes": 0, "no": 5}}


@pytest.mark.parametrize("kind", [Plain(None, "made"), nn.Linear, "Plain", None, lambda *_: None])
def test_a_custom_head_that_is_no_class_of_heads_is_refused(model, kind):
    with refuses(TypeError, "register a string and a subclass of PredictionHead, not 'mine' and", model=model):
        model.register_custom_head("mine", kind)


def test_a_custom_type_that_is_none_or_built_in_is_refused(model):
    with refuses(TypeError, "register a string and a subclass of PredictionHead, not 5 and", model=model):
        model.register_custom_head(5, Plain)
    for name in ("", "classification"):
        with refuses(ValueError, f"must not be empty or a built-in one's, but it is {name!r}", model=model):
            model.register_custom_head(name, Plain)


def test_a_custom_head_that_is_not_registered_or_cannot_be_made_is_told(model):
    with refuses(ValueError, "'mine'; there are", model=model):
        model.add_custom_head("mine", "new")
    model.register_custom_head("mine", Plain)
    with refuses(ValueError, "the mine head cannot be made from ['color']", "'color'", model=model):
        model.add_custom_head("mine", "new", color="red")
    model.register_custom_head("odd", Odd)
    with refuses(ValueError, "without gaps, not [0, 5]", model=model):
        model.add_custom_head("odd", "new")


@pytest.mark.parametrize("head", [nn.Linear(2, 2), "classification", Plain])
def test_what_is_no_head_cannot_be_added_as_one(model, head):
    with refuses(TypeError, "a head is a PredictionHead, not", model=model):
        model.add_prediction_head(head)


@pytest.mark.parametrize("heads", [5, {"mrpc"}, ["mrpc", 5]])
def test_what_is_no_choice_of_heads_cannot_be_activated(model, heads):
    with refuses(TypeError, "heads are a name, a list of names, or a block such as BatchSplit(…), not", model=model):
        model.active_head = heads


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_labels": 0}, "num_labels must be above 0, not 0"),
        ({"num_labels": "2"}, "num_labels must be a whole number, not '2'"),
        ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "num_labels is 3, but id2label names 2 labels"),
        ({"id2label": {0: "a", 1: "a"}}, "several labels are named 'a'"),
        ({"id2label": {1: "a", 2: "b"}}, "without gaps, not [1, 2]"),
        ({"id2label": "ab"}, "id2label must be a mapping from numbers to names, not 'ab'"),
        ({"label2id": {"a": "x"}}, "label2id must be a mapping from names to numbers"),
    ],
)
@pytest.mark.parametrize("architecture", NAMES)
def test_a_config_with_wrong_labels_is_refused(architecture, fields, said):
    with refuses(ValueError, said):
        tiny_config(architecture, **fields)
