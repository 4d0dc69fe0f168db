"""Scores in outputs are those of each row alone, whoever answers it, in the caller's order."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Fuse, MultiTask, Parallel, Split, Stack
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.fusion_cases import add_random_fusion, tensors_of_outputs
from tests.helpers.tiny import DISTINCT, tiny_model

GATES, WEIGHTS = "adapter_gating_scores", "adapter_fusion_attentions"
ASKED = {f"output_{field}": True for field in (GATES, WEIGHTS)}
FUSED = Fuse("f", "g")


@pytest.fixture(scope="module", params=DISTINCT)
def model(request):
    torch.manual_seed(0)
    made = tiny_model(request.param).eval()
    gated = {"a": "double_seq_bn", "b": "lora[intermediate_lora=True]", "c": "prefix_tuning[prefix_length=3]"}
    for name, config in gated.items():
        add_random(made, name, config.removesuffix("]") + ("," if "[" in config else "[") + "use_gating=True]")
    for name in "fg":
        add_random(made, name, "seq_bn")
    add_random_fusion(made, ["f", "g"])
    return made


def told(model, batch, setup, field, **call):
    with AdapterSetup(setup), torch.no_grad():
        return tensors_of_outputs(model(**batch, **ASKED, **call)[field])


def check(model, batch, found, field, rows):
    """What was told is what each adapter tells of a batch that it has for itself, at its rows."""
    assert found
    for (name, layer, place), value in found.items():
        alone = told(model, batch, FUSED if field == WEIGHTS else name, field)[name, layer, place]
        assert_close(value, alone[rows[name]], f"{name} {layer} {place}")


def test_by_name(model):
    batch = batch_for(model, rows=5)
    names = ["c", "a", None, "b", "a"]
    with torch.no_grad():
        output = model(**batch, **ASKED, adapter_names=names)
    found = tensors_of_outputs(output[GATES])
    assert {name for name, _, _ in found} == {"a", "b", "c"}
    check(model, batch, found, GATES, {"c": [0], "a": [1, 4], "b": [3]})
    assert output[WEIGHTS] == {}


def test_by_task(model):
    batch = batch_for(model)
    found = told(model, batch, Stack("b", MultiTask(FUSED, "a")), GATES, task_ids=[1, 0, 1, 0])
    first = {key: value for key, value in found.items() if key[0] == "b" and key[1] == 0 and "selfattn" in key[2]}
    check(model, batch, first, GATES, {"b": slice(None)})
    weights = told(model, batch, MultiTask(FUSED, "f"), WEIGHTS, task_ids=[1, 0, 1, 0])
    check(model, batch, weights, WEIGHTS, {"f,g": [1, 3]})


def test_in_compositions(model):
    batch = batch_for(model)
    split = BatchSplit("a", FUSED, "c", batch_sizes=[1, 2, 1])
    check(model, batch, told(model, batch, split, GATES), GATES, {"a": [0], "c": [3]})
    check(model, batch, told(model, batch, split, WEIGHTS), WEIGHTS, {"f,g": [1, 2]})
    both = Parallel("a", FUSED)
    check(model, batch, told(model, batch, both, GATES), GATES, {"a": slice(None)})
    check(model, batch, told(model, batch, both, WEIGHTS), WEIGHTS, {"f,g": slice(None)})
    same = BatchSplit(Stack("a"), "a", batch_sizes=[3, 1])
    check(model, batch, told(model, batch, same, GATES), GATES, {"a": slice(None)})


def test_of_positions(model):
    batch = batch_for(model, decoder=False)
    if len(model.base.config.stacks()) == 2:
        pytest.skip("the stacks' positions are not as many")
    length = batch["input_ids"].size(1)
    found = told(model, batch, Split(FUSED, "f", splits=[3, length - 3]), WEIGHTS)
    assert {value.shape for value in found.values()} == {(4, 3, 2)}


def test_with_heads_and_in_tuples(model):
    if "classification" not in model.head_types:
        pytest.skip("it has no such head")
    for name in "ab":
        model.add_classification_head(name, overwrite_ok=True)
    batch = {name: value for name, value in batch_for(model).items() if not name.startswith("decoder")}
    try:
        for setup in ("a", BatchSplit("a", "b", batch_sizes=2)):
            with AdapterSetup(setup), torch.no_grad():
                output, plain = model(**batch, **ASKED), model(**batch)
                values = model(**batch, **ASKED, return_dict=False)
                bare = model(**batch, return_dict=False)
            assert getattr(plain, GATES) is None
            assert set(output.adapter_gating_scores) == ({"a"} if setup == "a" else {"a", "b"})
            assert output.keys()[-2:] == [GATES, WEIGHTS]
            assert len(values) == len(bare) + 2
            assert set(values[-2]) == set(output.adapter_gating_scores)
    finally:
        for name in "ab":
            model.delete_head(name)
