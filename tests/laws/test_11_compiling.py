"""Law 11: a compiled network (one whole graph) computes the same, and a setup already seen is not compiled again."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from adapterzoo import AdapterSetup, BatchSplit, Stack
from tests.helpers.adapting import add_random, presets
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_gradients, gradients, leaves
from tests.helpers.tiny import DISTINCT, tiny_config, tiny_model

PRESETS = list(presets())
EVERY = BatchSplit(Stack(), *PRESETS, Stack("prefix_tuning", "lora", "seq_bn"), batch_sizes=1)
# No other sizes of the models: PyTorch takes a first batch's equal sizes for one and the same.
ROWS, LENGTH = len(PRESETS) + 2, 7
SMALLEST = min(DISTINCT, key=lambda name: len(tiny_config(name).sizes))


@pytest.fixture(autouse=True)
def fresh():
    """No graphs of other tests: PyTorch keeps them by function, whichever model they are of."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def one_layer(architecture):
    layers = {field: 1 for field in tiny_config(architecture).sizes if "layers" in field}
    model = tiny_model(architecture, **layers)
    for kind in presets():
        add_random(model, kind)
    return model


def compiled(model, backend="eager", dynamic=True):
    """The model with its network compiled, for batches of any shape if `dynamic`, which takes longer."""
    model.base.compile(fullgraph=True, dynamic=dynamic, backend=backend, recompile_limit=64)
    return model


def eager(model, batch, **call):
    """What the model computes where nothing is compiled."""
    with torch.compiler.set_stance("force_eager"):
        return model(**batch, **call)


def check(model, batch, **call):
    with torch.no_grad():
        expected, found = leaves(eager(model, batch, **call)), leaves(model(**batch, **call))
    assert list(found) == list(expected)
    for field, tensor in expected.items():
        assert_close(found[field], tensor, field)


def graphs():
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    "architecture",
    [name if name in ("bert", "bart") else pytest.param(name, marks=pytest.mark.slow) for name in DISTINCT],
)
def test_each_stack_is_one_graph_without_adapters_and_with_all_of_them_by_row(architecture):
    model = compiled(one_layer(architecture), dynamic=False)
    stacks = len(model.base.config.stacks())
    check(model, batch_for(model, ROWS, LENGTH))
    assert graphs() == stacks
    model.set_active_adapters(EVERY)
    check(model, batch_for(model, ROWS, LENGTH))
    assert graphs() == 2 * stacks
    with torch._dynamo.config.patch(error_on_recompile=True):
        check(model, batch_for(model, ROWS, LENGTH))
        with AdapterSetup(None):
            check(model, batch_for(model, ROWS, LENGTH))
        check(model, batch_for(model, ROWS, LENGTH))


@pytest.mark.slow
@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_every_method_by_itself_is_one_graph_for_batches_of_any_shape(architecture, kind):
    model = compiled(one_layer(architecture))
    model.set_active_adapters(kind)
    check(model, batch_for(model, 5, LENGTH))
    assert graphs() == len(model.base.config.stacks())
    with torch._dynamo.config.patch(error_on_recompile=True):
        check(model, batch_for(model, 3, length=11))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", DISTINCT)
def test_adapters_by_row_share_a_graph_whatever_the_order_and_the_numbers(architecture):
    model = compiled(one_layer(architecture))
    names = ["lora", None, None, "prefix_tuning", "lora", "lora", "prefix_tuning", None, None, "prefix_tuning"]
    check(model, batch_for(model, len(names), LENGTH), adapter_names=names)
    assert graphs() == len(model.base.config.stacks())
    others = [None, None, "lora", "prefix_tuning", "prefix_tuning", "lora"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        check(model, batch_for(model, len(names), LENGTH), adapter_names=names[::-1])
        check(model, batch_for(model, len(others), length=11), adapter_names=others)


@pytest.mark.slow
# PyTorch looks at `.grad` of what goes into a graph, prefixes that the MLP has made among them, and hides its warning.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")
@pytest.mark.parametrize("architecture", DISTINCT)
def test_training_has_the_same_loss_and_gradients(architecture):
    model = compiled(one_layer(architecture), "aot_eager")
    model.add_classification_head("head")
    model.train_adapter(Stack("prefix_tuning", "lora", "seq_bn"))
    batch = {**batch_for(model, 5, LENGTH, decoder=False), "labels": torch.tensor([0, 1, 1, 0, 1])}
    expected = eager(model, batch)
    expected.loss.backward()
    slopes = gradients(model)
    output = model(**batch)
    output.loss.backward()
    assert graphs() == len(model.base.config.stacks())
    assert_close(output.loss, expected.loss)
    assert_gradients(gradients(model), slopes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch's own, of inductor's parts
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="inductor needs a C++ compiler")
def test_with_inductor():
    model = compiled(one_layer(SMALLEST), "inductor")
    for setup in (None, Stack("prefix_tuning", "lora", "double_seq_bn")):
        model.set_active_adapters(setup)
        check(model, batch_for(model, 5, LENGTH))
        check(model, batch_for(model, 3, length=11))
