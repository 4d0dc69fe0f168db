"""AdapterDrop: layers left out within a `with` block, and a random number of first layers left out in each step."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from adapterzoo import AdapterSetup, Stack, adapter_drop
from adapterzoo.context import current_skip
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_same
from tests.helpers.tiny import DISTINCT, tiny_model


@pytest.fixture(params=DISTINCT)
def model(request):
    torch.manual_seed(0)
    model = tiny_model(request.param, "Model")
    for name, kind in {"a": "lora", "b": "double_seq_bn"}.items():
        add_random(model, name, CONFIGS[kind])
    return model


def run(model, batch):
    with torch.no_grad():
        return model(**batch)


def test_a_setup_may_skip_layers(model):
    batch = batch_for(model)
    model.set_active_adapters("a", skip_layers=[0])
    skipped, whole = run(model, batch), None
    model.set_active_adapters("a")
    whole = run(model, batch)
    assert not torch.equal(skipped[0], whole[0])
    with AdapterSetup("a", skip_layers=[0]):
        assert_same(run(model, batch), skipped)
        with AdapterSetup("a"):  # which says nothing of layers
            assert_same(run(model, batch), skipped)
        with AdapterSetup("a", skip_layers=[]):
            assert_same(run(model, batch), whole)
        with AdapterSetup(None, ignore_empty=True):
            assert_same(run(model, batch), skipped)
    with AdapterSetup(None, ignore_empty=True, skip_layers=[0]):  # what is active, without the first layer
        assert_same(run(model, batch), skipped)
    assert_same(run(model, batch), whole)
    model.set_active_adapters(None, skip_layers=[0])
    with AdapterSetup("a"):
        assert_same(run(model, batch), skipped)


def test_names_by_row_skip_them_too(model):
    batch, names = batch_for(model), ["a", "b", None, "a"]
    model.set_active_adapters(None, skip_layers=[0])
    with torch.no_grad():
        skipped = model(**batch, adapter_names=names)
        model.set_active_adapters(None)
        with AdapterSetup(None, skip_layers=[0]):
            assert_same(model(**batch, adapter_names=names), skipped)


def test_layers_that_there_are_not_are_refused_when_the_model_runs(model):
    with (
        AdapterSetup("a", skip_layers=[99]),
        pytest.raises(ValueError, match="skip_layers names 99, but the network's"),
    ):
        model(**batch_for(model))
    assert current_skip() is None


def test_dropped_layers_get_no_gradient_and_the_others_do(model):
    layers = model.base.config.layers
    model.train_adapter(Stack("a", "b"))
    batch = batch_for(model)
    for dropped in range(layers):
        with adapter_drop(model, most=dropped, generator=drawing(dropped, dropped)) as count:
            assert count == dropped
            model(**batch)[0].square().mean().backward()
        encoder = len(model.base.encoder) if len(model.base.config.stacks()) == 2 else 0
        for name, parameter in model.adapters.named_parameters():
            stack, depth = name.partition("units.")[2].split("-")[:2]
            layer = int(depth) + (encoder if stack == "decoder" and encoder else 0)
            assert (parameter.grad is not None) == (layer >= dropped), name
        model.zero_grad(set_to_none=True)


def drawing(count, most):
    """A generator that draws `count` first, out of 0 to `most`."""
    for seed in range(1000):
        generator = torch.Generator().manual_seed(seed)
        if int(torch.randint(most + 1, (), generator=generator)) == count:
            return generator.manual_seed(seed)
    raise AssertionError("no seed found")


def drawn(model, times, **options):
    found = []
    for _ in range(times):
        with adapter_drop(model, **options) as count:
            assert current_skip() == tuple(range(count))
            found.append(count)
    return found


def test_each_number_is_as_likely_and_a_generator_makes_it_repeatable():
    model = tiny_model("bert", num_hidden_layers=4)
    first = drawn(model, 800, generator=torch.Generator().manual_seed(1))
    assert first == drawn(model, 800, generator=torch.Generator().manual_seed(1))
    counts = Counter(first)
    assert set(counts) == {0, 1, 2, 3}
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 16.3  # χ² with 3 degrees of freedom: 0.1 %
    assert set(drawn(model, 40, most=1)) == {0, 1}
    assert drawn(model, 3, most=0) == [0, 0, 0]


def test_there_is_one_plan_for_each_number_of_layers(model):
    model.set_active_adapters("a")
    layers, batch = model.base.config.layers, batch_for(model)
    before = len(model.adapters._plans)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6 * layers):
        with adapter_drop(model, generator=generator):
            run(model, batch)
    assert len(model.adapters._plans) <= before + layers - 1


def test_it_holds_for_its_block_and_its_thread_alone(model):
    model.set_active_adapters("a")
    batch = batch_for(model)
    whole = run(model, batch)
    with ThreadPoolExecutor(1) as pool, adapter_drop(model, most=1, generator=drawing(1, 1)):
        assert not torch.equal(run(model, batch)[0], whole[0])
        assert_same(pool.submit(run, model, batch).result(), whole)
        with adapter_drop(model, most=0):
            assert_same(run(model, batch), whole)
        assert current_skip() == (0,)
    with pytest.raises(RuntimeError, match="stop"), adapter_drop(model):
        raise RuntimeError("stop")
    assert current_skip() is None
    assert_same(run(model, batch), whole)


@pytest.mark.parametrize("most", [-1, 99, 1.5, True, "2"])
def test_more_layers_than_there_are_are_refused(most):
    with pytest.raises(ValueError, match="so most is 0 to 2"), adapter_drop(tiny_model("bert"), most=most):
        raise AssertionError
