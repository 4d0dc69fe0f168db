"""Cards: a head that the Hub reads, and a text that says what there is and how to load it."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard

from adapterzoo.hub.card import About, Part, card, check_entries

PARTS = [Part("adapter", "mrpc", "lora", 12345), Part("head", "mrpc", "classification", 1538, ("no", "yes"))]
ABOUT = About("Adapter `mrpc`", "bert", "google/bert", "width 768 and 12 encoder layers", PARTS)


def head_of(text):
    return ModelCard(text).data.to_dict()


def test_the_head_names_the_model_that_it_is_for():
    head = head_of(card("org/a", ABOUT, None, {}))
    assert head["base_model"] == "google/bert" and head["base_model_relation"] == "adapter"
    assert head["library_name"] == "adapters" and head["tags"] == ["adapter-transformers", "adapterzoo", "bert"]
    assert not {"language", "license", "datasets", "metrics"} & set(head)


@pytest.mark.parametrize("name", ["", "/data/bert", "../bert", "a/b/c", "C:\\bert", "my bert", "~/bert", "tests"])
def test_what_is_no_repository_is_not_named(name):
    text = card("org/a", ABOUT._replace(model_name=name), None, {})
    assert "base_model" not in head_of(text)
    assert "for models of the type `bert`" in text and 'from_pretrained("path/to/the/model")' in text


def test_entries_are_lists_or_strings():
    given = {"tags": "one", "language": ["en", "de"], "metrics": ["f1", "accuracy"], "license": "mit"}
    head = head_of(card("org/a", ABOUT, "org/data", check_entries({**given, "citation": None})))
    assert head["tags"][-1] == "one" and head["language"] == ["en", "de"]
    assert head["metrics"] == ["f1", "accuracy"] and head["datasets"] == ["org/data"] and head["license"] == "mit"


def test_values_that_yaml_would_take_for_something_else_stay_strings():
    head = head_of(card("org/a", ABOUT, "no", check_entries({"tags": ["yes", "1.0", "a: b"], "language": "no"})))
    assert head["tags"][-3:] == ["yes", "1.0", "a: b"]
    assert head["language"] == "no" and head["datasets"] == ["no"]


def test_the_text_tells_the_parts_and_how_to_load_them():
    text = card("org/a", ABOUT, None, {})
    assert "| adapter `mrpc` | `lora` | 12,345 |" in text
    assert "| head `mrpc` | `classification`: `no`, `yes` | 1,538 |" in text
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert code == [
        "from adapterzoo import AutoAdapterModel\n\n"
        'model = AutoAdapterModel.from_pretrained("google/bert")\n'
        'model.load_adapter("org/a", set_active=True)\n'
    ]
    setup = card("org/a", ABOUT._replace(load="load_adapter_setup"), None, {})
    assert 'model.load_adapter_setup("org/a", set_active=True)' in setup


def test_names_do_not_break_the_table():
    parts = [Part("adapter", "a|b`c\nd", "lora", 1), Part("head", "h", "tagging", 1, [str(n) for n in range(30)])]
    rows = [line for line in card("org/a", ABOUT._replace(parts=parts), None, {}).splitlines() if line[:2] == "| "]
    assert rows[1] == "| adapter `a\\|b'c d` | `lora` | 1 |"
    assert rows[2].endswith("`19`, and 10 more | 1 |")


def test_texts_come_last_in_sections_of_their_own():
    entries = {"architecture_training": "One epoch.", "results": " F1: 1 ", "citation": "Me"}
    sections = re.findall(r"^## (.*)$", card("org/a", ABOUT, None, entries), re.MULTILINE)
    assert sections == ["Usage", "Architecture and training", "Results", "Citation"]
    assert card("org/a", ABOUT, None, entries).endswith("F1: 1\n\n## Citation\n\nMe\n")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"licence": "mit"}, "no entry of adapter_card_kwargs named 'licence'.*did you mean 'license'"),
        ({"license": ["mit"]}, r"adapter_card_kwargs\['license'\] must be a string, not \['mit'\]"),
        ({"tags": [1]}, r"adapter_card_kwargs\['tags'\] must be a string or a list of strings, not \[1\]"),
    ],
)
def test_other_entries_are_refused(entries, said):
    with pytest.raises(TypeError, match=said):
        check_entries(entries)
