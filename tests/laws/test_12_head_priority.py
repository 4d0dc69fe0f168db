"""Law 12: the head of the call goes before AdapterSetup's, and that before the active one, under every setup."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from adapterzoo import AdapterSetup, BatchSplit, MultiHeadOutput, Stack
from tests.helpers.adapting import CONFIGS, KINDS, add_random
from tests.helpers.batches import batch_for
from tests.helpers.heads import add_head
from tests.helpers.tiny import NAMES, tiny_model

LABELS = {"called": 2, "scoped": 3, "active": 4, "a": 5, "b": 6}  # the number of labels tells which head it was
ROWS = ["a", None, "b", "c"]
SETUPS = {
    "none": None,
    "a name": "c",
    "a name with a head": "a",
    "a stack": Stack("b", "c"),
    "a split": BatchSplit("c", "b", batch_sizes=[1, 3]),
    "a split with heads": BatchSplit("a", "b", batch_sizes=[1, 3]),
    "a nesting": Stack("a", BatchSplit(Stack("b", "c"), "c", batch_sizes=2)),
}
OWN = {"a name with a head": "a", "a split with heads": ["a", "b"]}  # the heads of the setup's adapters' names


@pytest.fixture(params=NAMES)
def model(request):
    model = tiny_model(request.param)
    for name, kind in zip("abc", KINDS, strict=False):
        add_random(model, name, CONFIGS[kind])
    for name, labels in LABELS.items():
        add_head(model, "classification", name, num_labels=labels)
    model.active_head = "active"
    return model


def answered(model, **call):
    """The name of the head that answers, or the names of those that answer for rows."""
    names = {labels: name for name, labels in LABELS.items()}
    output = model(**batch_for(model, decoder=False), **call)
    if isinstance(output, MultiHeadOutput):
        return [names[part.logits.size(-1)] for part in output]
    return names[output.logits.size(-1)]


@pytest.mark.parametrize("setup", SETUPS)
def test_under_every_setup(model, setup):
    own = OWN.get(setup, "active")
    with AdapterSetup(SETUPS[setup]):
        assert answered(model) == own
        assert answered(model, head="called") == "called"
    with AdapterSetup(SETUPS[setup], head_setup="scoped"):
        assert answered(model) == "scoped"
        assert answered(model, head="called") == "called"
    assert answered(model) == "active"
    model.set_active_adapters(SETUPS[setup])
    assert answered(model) == own
    with AdapterSetup("c", head_setup="scoped"):
        assert answered(model) == "scoped"
        assert answered(model, head="called") == "called"


def test_heads_for_runs_of_rows_go_before_others_too(model):
    split = BatchSplit("a", "b", batch_sizes=[2, 2])
    for context in (nullcontext(), AdapterSetup(split), AdapterSetup("c", head_setup="scoped")):
        with context:
            assert answered(model, head=split) == ["a", "b"]
            assert answered(model, head=["a", "called"]) == ["a", "called"]
    with AdapterSetup(None, head_setup=split):
        assert answered(model) == ["a", "b"]
    model.active_head = split
    assert answered(model) == ["a", "b"]
    with AdapterSetup(split, head_setup="scoped"):
        assert answered(model) == "scoped"
    assert answered(model, head="called") == "called"


def test_with_names_by_row_only_rows_without_a_head_of_their_own_ask_further(model):
    assert answered(model, adapter_names=ROWS) == ["active", "a", "b"]
    assert answered(model, adapter_names=ROWS, head="called") == "called"
    with AdapterSetup("c", head_setup="scoped"):
        assert answered(model, adapter_names=ROWS) == ["scoped", "a", "b"]
        assert answered(model, adapter_names=["c"] * 4) == "scoped"
        assert answered(model, adapter_names=ROWS, head="called") == "called"
    with AdapterSetup("a"):  # the call names its adapters itself
        assert answered(model, adapter_names=[None, "c", "c", "c"]) == "active"


def test_without_any_head_the_networks_output_is_returned(model):
    model.active_head = None
    with AdapterSetup("c"):
        assert "last_hidden_state" in model(**batch_for(model, decoder=False))
