"""Names of adapters, heads and setups: those that are not there, are there twice, or are none."""

from __future__ import annotations

import pytest

from adapterzoo import AdapterCompositionBlock, AdapterSetup, BatchSplit, Stack, UnknownName
from adapterzoo.core.compose import RowGroups
from tests.helpers.batches import batch_for
from tests.helpers.refusing import refuses

NO_NAMES = [("", ValueError, "name must not be empty"), (5, TypeError, "name is a string, not 5")]
NO_NAMES += [(None, TypeError, "name is a string, not None"), (["a"], TypeError, "name is a string, not ['a']")]
no_name = pytest.mark.parametrize(("name", "error", "said"), NO_NAMES, ids=[repr(name) for name, _, _ in NO_NAMES])


@no_name
def test_a_name_that_is_none_is_refused(model, name, error, said):
    with refuses(error, f"an adapter's {said}", model=model):
        model.add_adapter(name, "lora")
    with refuses(error, f"a head's {said}", model=model):
        model.add_classification_head(name)
    with refuses(error, f"a head's {said}", model=model):
        model.add_custom_head("tagging" if "tagging" in model.head_types else "classification", name)


def test_a_taken_name_is_refused_unless_it_may_be_replaced(model):
    with refuses(ValueError, "there is already an adapter named 'mrpc'; overwrite_ok=True", model=model):
        model.add_adapter("mrpc", "lora")
    with refuses(ValueError, "there is already a head named 'mrpc'; overwrite_ok=True", model=model):
        model.add_classification_head("mrpc")
    with refuses(ValueError, "there is already a head named 'mrpc'", model=model):
        model.add_prediction_head(model.heads["mrpc"])
    model.add_adapter("mrpc", "lora", overwrite_ok=True)
    model.add_classification_head("mrpc", num_labels=5, overwrite_ok=True)
    assert model.adapters_config.get("mrpc").architecture == "lora"
    assert model.heads["mrpc"].config["num_labels"] == 5


def test_a_wrong_config_leaves_the_one_that_it_should_replace(model):
    with refuses(ValueError, "r must be above 0", model=model):
        model.add_adapter("mrpc", "lora[r=0]", overwrite_ok=True)
    with refuses(ValueError, "layers must be above 0", model=model):
        model.add_classification_head("mrpc", layers=0, overwrite_ok=True)


@pytest.mark.parametrize("name", ["train", "active", "add", "get", "kind", "_plans", "en.wiki", "a/b", "..", "100%"])
def test_any_other_string_is_a_name(one_model, name, tmp_path):
    one_model.add_adapter(name, "lora", set_active=True)
    one_model.add_classification_head(name)
    one_model(**batch_for(one_model, decoder=False))
    one_model.save_pretrained(tmp_path / "inside")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    again = type(one_model).from_pretrained(tmp_path / "inside")
    assert name in again.adapters and name in again.heads
    again.delete_adapter(name)
    again.delete_head(name)
    assert name not in again.adapters and name not in again.heads


def calls(name):
    """Every call that takes an adapter's name; in each, it is unknown."""
    return {
        "delete_adapter": lambda model: model.delete_adapter(name),
        "set_active_adapters": lambda model: model.set_active_adapters(name),
        "active_adapters": lambda model: setattr(model, "active_adapters", name),
        "train_adapter": lambda model: model.train_adapter(name),
        "save_adapter": lambda model: model.save_adapter("nowhere", name),
        "Stack": lambda model: model.set_active_adapters(Stack("en", name)),
        "a list": lambda model: model.train_adapter(["en", name]),
        "nested": lambda model: model.set_active_adapters(BatchSplit("en", Stack("mrpc", name), batch_sizes=1)),
        "adapter_names": lambda model: model(**batch_for(model, rows=2), adapter_names=["en", name]),
        "AdapterSetup": lambda model: run_within(model, AdapterSetup(Stack("en", name))),
    }


def run_within(model, setup):
    with setup:
        return model(**batch_for(model))


@pytest.mark.parametrize("call", calls("mprc"))
def test_an_unknown_adapter_is_told_with_those_there_are(model, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "no adapter named 'mprc'; there are en, mrpc (did you mean 'mrpc'?)"
    with refuses(UnknownName, said, model=model, folder=tmp_path):
        calls("mprc")[call](model)


def test_an_unknown_name_is_a_key_error_and_a_value_error(model):
    for kind in (KeyError, ValueError):
        with refuses(kind, "no adapter named 'gone'", model=model):
            model.delete_adapter("gone")


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.delete_head("mprc"),
        lambda model: setattr(model, "active_head", "mprc"),
        lambda model: setattr(model, "active_head", BatchSplit("other", "mprc", batch_sizes=1)),
        lambda model: setattr(model, "active_head", ["other", "mprc"]),
        lambda model: model.get_labels("mprc"),
        lambda model: model.save_head("nowhere", "mprc"),
        lambda model: model(**batch_for(model), head="mprc"),
        lambda model: run_within(model, AdapterSetup("en", head_setup="mprc")),
    ],
)
def test_an_unknown_head_is_told_with_those_there_are(model, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "no head named 'mprc'; there are mrpc, other (did you mean 'mrpc'?)"
    with refuses(UnknownName, said, model=model, folder=tmp_path):
        call(model)


def test_labels_of_no_head_are_refused(model):
    model.active_head = None
    with refuses(ValueError, "name a head: not just one is active", model=model):
        model.get_labels()


class Shuffle(AdapterCompositionBlock):
    """A block that nothing compiles."""


@pytest.mark.parametrize(
    ("setup", "error", "said"),
    [
        (5, TypeError, "a setup is an adapter's name, a block such as Stack(…), or None, not 5"),
        (0, TypeError, "a setup is an adapter's name"),
        ({"en"}, TypeError, "a setup is an adapter's name"),
        (["en", 5], TypeError, "a composition holds adapters' names and blocks, not 5"),
        (Shuffle("en", "mrpc"), ValueError, "Shuffle[en, mrpc] cannot run here; there are Stack, "),
        (Stack("en", Shuffle("mrpc")), ValueError, "Shuffle[mrpc] cannot run here"),
    ],
)
def test_what_is_no_setup_is_refused(model, setup, error, said):
    with refuses(error, said, model=model):
        model.set_active_adapters(setup)
    with refuses(error, said, model=model):
        model.train_adapter(setup)


def test_nothing_to_train_is_refused(model):
    for setup in (None, "", []):
        with refuses(ValueError, "name the adapters to train", model=model):
            model.train_adapter(setup)


@pytest.mark.parametrize("child", [5, None, ["en"], ("en",)])
def test_a_block_of_no_names_is_refused(child):
    for block in (Stack, RowGroups):
        with refuses(TypeError, "a composition holds adapters' names and blocks, not"):
            block("en", child)


def test_a_block_cannot_be_changed():
    with refuses(AttributeError, "compositions are values"):
        Stack("en").children = ("mrpc",)


@pytest.mark.parametrize("data", [{}, [], {"type": "Stack"}, {"type": "Stack", "children": [5]}])
def test_data_that_describe_no_composition_are_refused(data):
    with refuses(ValueError, "describes no composition"):
        AdapterCompositionBlock.from_dict(data)


def test_an_unknown_kind_of_block_in_data_is_told_with_those_there_are():
    with refuses(UnknownName, "no composition block 'Stak'; there are Average, BatchSplit, ", "did you mean 'Stack'?"):
        AdapterCompositionBlock.from_dict({"type": "Stak", "children": []})


@pytest.mark.parametrize(
    ("sizes", "error", "said"),
    [
        ([1], ValueError, "BatchSplit has 2 children but 1 batch_sizes: [1]"),
        ([1, 2, 3], ValueError, "BatchSplit has 2 children but 3 batch_sizes: [1, 2, 3]"),
        ([1, -1], ValueError, "batch_sizes must be whole numbers, 0 or more, not [1, -1]"),
        ([1, 1.5], ValueError, "batch_sizes must be whole numbers, 0 or more, not [1, 1.5]"),
        (-2, ValueError, "batch_sizes must be whole numbers, 0 or more, not [-2, -2]"),
        (1.5, TypeError, "batch_sizes is a whole number or a list of them, not 1.5"),
        (None, TypeError, "batch_sizes is a whole number or a list of them, not None"),
        ("12", TypeError, "batch_sizes is a whole number or a list of them, not '12'"),
    ],
)
def test_sizes_that_are_none_or_do_not_match_the_children_are_refused(sizes, error, said):
    with refuses(error, said):
        BatchSplit("en", "mrpc", batch_sizes=sizes)


@pytest.mark.parametrize("sizes", [[1, 2], [4, 1], [0, 0], 1])
def test_sizes_that_do_not_add_up_to_the_batch_are_told(model, sizes):
    split = BatchSplit("en", "mrpc", batch_sizes=sizes)
    said = f"batch sizes {list(split.batch_sizes)} add up to {sum(split.batch_sizes)}, but the batch has 4 rows"
    with refuses(ValueError, said, model=model):
        run_within(model, AdapterSetup(split, head_setup="other"))
    with refuses(ValueError, said, model=model):
        model(**batch_for(model, decoder=False), head=BatchSplit("mrpc", "other", batch_sizes=sizes))


def test_adapter_names_that_are_no_list_or_of_another_length_are_told(model):
    batch = batch_for(model, rows=4)
    with refuses(ValueError, "adapter_names has 3 names, but the batch has 4 rows", model=model):
        model(**batch, adapter_names=["en", "mrpc", None])
    for names in ("mrpc", 4, {"en"}):
        with refuses(TypeError, "adapter_names is a list with a name or None for each row", model=model):
            model(**batch, adapter_names=names)


def test_a_failure_within_an_adapter_setup_ends_it(one_model):
    batch = batch_for(one_model, decoder=False)
    before = one_model(**batch).logits
    with refuses(UnknownName, "no adapter named 'gone'", model=one_model):
        run_within(one_model, AdapterSetup("gone"))
    assert one_model(**batch).logits.equal(before)
