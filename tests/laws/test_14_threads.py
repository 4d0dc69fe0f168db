"""Law 14: setups of different threads do not meet."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Stack
from adapterzoo.context import current_scope
from tests.helpers.adapting import add_all
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_same
from tests.helpers.heads import add_head
from tests.helpers.tiny import DISTINCT, tiny_model

ROUNDS = 15
SETUPS = {
    "lora": ("lora_all", "first"),
    "nothing": (None, None),
    "a stack": (Stack("prefix_tuning", "bn_everywhere"), "second"),
    "a split": (BatchSplit("bn_final", "prefix_longer", batch_sizes=[1, 3]), "first"),
}


def make(architecture):
    model = add_all(tiny_model(architecture))
    for name in ("first", "second"):
        add_head(model, "classification", name)
    model.set_active_adapters("par_bn")
    return model, batch_for(model, decoder=False)


def run(model, batch, name):
    with torch.no_grad(), AdapterSetup(*SETUPS[name]):
        return model(**batch)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_every_thread_has_its_own_setup(architecture):
    model, batch = make(architecture)
    expected = {name: run(model, batch, name) for name in SETUPS}
    logits = [output.logits for output in expected.values()]
    assert all((a - b).abs().max() > 0.01 for a, b in itertools.combinations(logits, 2)), "two setups look alike"
    model.adapters._plans.clear()  # so that the threads also compile their plans at the same time
    start = threading.Barrier(len(SETUPS))

    def repeat(name):
        try:
            for _ in range(ROUNDS):
                start.wait(timeout=60)
                # Not bit for bit: a thread's first products may be cut among more cores, which adds in another order.
                assert_close(run(model, batch, name).logits, expected[name].logits, name)
        except AssertionError:
            start.abort()  # the others need not wait for the one that failed
            raise
        return name

    with ThreadPoolExecutor(len(SETUPS)) as pool:
        assert list(pool.map(repeat, SETUPS)) == list(SETUPS)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_setup_is_not_seen_by_another_thread_while_it_lasts(architecture):
    model, batch = make(architecture)
    with torch.no_grad():
        active = model(**batch)
    inside, done = threading.Event(), threading.Event()

    def hold():
        with AdapterSetup(*SETUPS["a stack"]):
            inside.set()
            assert done.wait(timeout=30)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        assert inside.wait(timeout=30)
        assert current_scope() is None
        with torch.no_grad():
            assert_same(model(**batch), active)
        done.set()
        held.result()


def test_setups_nest_and_end_with_their_block_even_by_an_error():
    outer, inner = AdapterSetup("a"), AdapterSetup("b", head_setup="h")
    with outer:
        with pytest.raises(RuntimeError, match="stop"), inner:
            assert current_scope().adapters == Stack("b")
            with outer:  # again, within itself
                assert current_scope().adapters == Stack("a")
            assert current_scope().heads == "h"
            raise RuntimeError("stop")
        assert current_scope().adapters == Stack("a")
        with AdapterSetup(None, ignore_empty=True):
            assert current_scope().adapters == Stack("a")
        with AdapterSetup(None):
            assert current_scope().adapters is None
    assert current_scope() is None


@pytest.mark.parametrize("architecture", DISTINCT)
def test_one_setup_object_may_be_used_by_several_threads(architecture):
    model, batch = make(architecture)
    setup = AdapterSetup(*SETUPS["lora"])
    expected = run(model, batch, "lora")
    start = threading.Barrier(2)

    def repeat(_):
        for _ in range(ROUNDS):
            start.wait(timeout=30)
            with setup, torch.no_grad():
                assert_same(model(**batch), expected)
            assert current_scope() is None
        return True

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(repeat, range(2)))
