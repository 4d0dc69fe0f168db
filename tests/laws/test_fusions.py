"""AdapterFusion over every method: it runs, it trains, and each row is what it would be alone."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import BatchSplit, Fuse, Parallel, Stack
from adapterzoo.fusion.fusion import WHOLE
from tests.helpers.adapting import add_random, presets
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_same, gradients
from tests.helpers.fusion_cases import add_pair, add_random_fusion
from tests.helpers.tiny import DISTINCT, tiny_model

PRESETS = presets()


def model_with(architecture, config, std=0.1):
    """A model with two adapters "a" and "b"."""
    torch.manual_seed(0)
    model = tiny_model(architecture).eval()
    for name in "ab":
        add_random(model, name, config, std)
    return model


def refused(model):
    """Whether there is nothing to weigh at a place where an adapter acts, or something to invert."""
    slugs = list(model.adapters["a"].units)
    kinds = [slug.rpartition("-")[2] for slug in slugs]
    return any(kind in ("kv", "input") for kind in kinds) or hasattr(
        next((unit for slug, unit in model.adapters["a"].units.items() if slug.endswith("-embed")), None), "inverse"
    )


def last(model, batch, setup):
    with torch.no_grad():
        model.adapters.activate(setup, model.base)
        return model(**batch)[0]


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_every_method_is_fused_and_trained_or_refused(architecture, kind):
    model = model_with(architecture, PRESETS[kind])
    if refused(model):
        with pytest.raises(ValueError, match=f"positions|inverts|{'|'.join(WHOLE)}"):
            model.add_adapter_fusion(["a", "b"])
        assert not len(model.fusions)
        return
    add_random_fusion(model, ["a", "b"])
    model.train_adapter_fusion(Fuse("a", "b"))
    model(**batch_for(model))[0].pow(2).sum().backward()
    found = gradients(model.fusions)
    sites = {name.split(".")[2] for name in found}
    assert sites == set(model.fusions["a,b"].units) == set(model.adapters["a"].units)
    assert all(bool(grad.isfinite().all()) for grad in found.values())
    assert not gradients(model)


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("architecture", DISTINCT[:2])
def test_a_static_fusion_of_twins_is_the_adapter(architecture, kind):
    model = model_with(architecture, PRESETS[kind])
    if refused(model):
        pytest.skip("it is refused")
    model.adapters["b"].load_state_dict(model.adapters["a"].state_dict())
    add_random_fusion(model, ["a", "b"], "static")
    batch = batch_for(model)
    assert_close(last(model, batch, Fuse("a", "b")), last(model, batch, Stack("a")))


MIXED = ["double_seq_bn", "lora", "seq_bn[leave_out=[0]]", "seq_bn[original_ln_after=False, mh_adapter=True]", "ia3"]


def with_mixed(architecture):
    """A model with adapters of several methods, "a" to "e", and a fusion of them all."""
    torch.manual_seed(0)
    model = tiny_model(architecture).eval()
    for name, config in zip("abcde", MIXED, strict=True):
        add_random(model, name, config, 0.1)
    add_random_fusion(model, list("abcde"), fused_as="all")
    return model


def fuse(*children):
    return Fuse(*children, name="all")


SPLIT = {
    BatchSplit(fuse("a", "b"), "c", Stack("b", fuse("d", "e")), batch_sizes=[2, 1, 1]): [
        fuse("a", "b"),
        fuse("a", "b"),
        "c",
        Stack("b", fuse("d", "e")),
    ],
    fuse(BatchSplit("a", "c", batch_sizes=[1, 3]), "b"): [fuse("a", "b"), *[fuse("c", "b")] * 3],
    fuse("a", "b", BatchSplit(Stack(), "c", "d", batch_sizes=[2, 1, 1])): [
        *[fuse("a", "b")] * 2,
        fuse("a", "b", BatchSplit("c", batch_sizes=4)),
        fuse("a", "b", BatchSplit("d", batch_sizes=4)),
    ],
    fuse("d", BatchSplit(Stack(), "a", batch_sizes=2)): [
        *[fuse("d")] * 2,
        *[fuse("d", BatchSplit("a", batch_sizes=4))] * 2,
    ],
    fuse(BatchSplit("c", Stack(), batch_sizes=2)): [*[fuse("c")] * 2, *[Stack()] * 2],
    Stack("a", fuse(fuse("b", "c"), Stack("a", "d"))): [Stack("a", fuse(fuse("b", "c"), Stack("a", "d")))] * 4,
}


@pytest.mark.parametrize("setup", SPLIT, ids=str)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_each_row_is_what_it_would_be_alone(architecture, setup):
    model = with_mixed(architecture)
    batch = batch_for(model)
    together = last(model, batch, setup)
    for row, own in enumerate(SPLIT[setup]):
        assert_close(together[row], last(model, batch, own)[row])


@pytest.mark.parametrize("architecture", DISTINCT)
def test_parallel_fusions_are_each_as_alone(architecture):
    model = with_mixed(architecture)
    batch = batch_for(model)
    setups = [fuse("a", "b"), Stack("c", fuse("d", "e"))]
    parts = last(model, batch, Parallel(*setups)).chunk(2)
    for part, setup in zip(parts, setups, strict=True):
        assert_close(part, last(model, batch, setup))


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_telling_scores_changes_nothing(architecture, padding_free):
    model = tiny_model(architecture).eval()
    model.padding_free = padding_free
    add_pair(model, "double_seq_bn[use_gating=True]")
    batch = batch_for(model)
    for setup in (Fuse("a", "b"), Stack("a", "b")):
        model.adapters.activate(setup, model.base)
        with torch.no_grad():
            plain = model(**batch)
            told = model(**batch, output_adapter_gating_scores=True, output_adapter_fusion_attentions=True)
        scores = told.adapter_fusion_attentions if isinstance(setup, Fuse) else told.adapter_gating_scores
        assert set(scores) == ({"a,b"} if isinstance(setup, Fuse) else {"a", "b"})
        told.adapter_gating_scores = told.adapter_fusion_attentions = None
        assert_same(told, plain)
        assert model.adapters.plan(setup, model.base).start().notes is None
        weights = [value for layers in scores.values() for places in layers.values() for value in places.values()]
        assert all(not value.requires_grad for value in weights)
        if isinstance(setup, Fuse):
            assert all(bool(((w.sum(-1) - 1).abs().lt(1e-5) | w.sum(-1).eq(0)).all()) for w in weights)
