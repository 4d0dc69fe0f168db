"""PHM layers: what they compute, start as, share and refuse."""

from __future__ import annotations

import math

import pytest
import torch

from adapterzoo import CompacterConfig, CompacterPlusPlusConfig
from adapterzoo.methods.phm import kronecker_sum, times_factors
from tests.helpers.adapting import tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, randomise, tiny_model

SMALL = {"reduction_factor": 4}
EVERY_SHARING = [
    {"shared_W_phm": w, "shared_phm_rule": rule, "factorized_phm_W": left, "factorized_phm_rule": thin}
    for w in (True, False)
    for rule in (True, False)
    for left in (True, False)
    for thin in (True, False)
]


def added(config, architecture="bert", name="a"):
    """A small model with an adapter as it begins."""
    torch.manual_seed(0)
    model = tiny_model(architecture)
    model.add_adapter(name, config)
    return model


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_both_products_are_the_sum_of_kronecker_products(n, rank):
    torch.manual_seed(0)
    rule, x = torch.randn(n, n, n).double(), torch.randn(2, 5, 8).double()
    left, right = torch.randn(n, 8 // n, rank).double(), torch.randn(n, rank, 12 // n).double()
    whole = sum(torch.kron(one, first @ second) for one, first, second in zip(rule, left, right, strict=True))
    assert_close(kronecker_sum(rule, left @ right), whole)
    assert_close(times_factors(x, rule, left, right), x @ whole)


@pytest.mark.parametrize("options", EVERY_SHARING, ids=str)
@pytest.mark.parametrize("how", ["bert", "mam_adapter", "houlsby"])
def test_every_way_to_share_and_factorise_runs_under_every_start(options, how):
    model = added(CompacterConfig(**SMALL, **options, init_weights=how, phm_c_init="uniform")).double()
    adapter, batch = model.adapters["a"], batch_for(model)
    bare = model(**batch).last_hidden_state
    with torch.no_grad():
        model.set_active_adapters("a")
        assert torch.equal(model(**batch).last_hidden_state, bare) == (how == "mam_adapter")
        randomise(adapter)
    model(**batch).last_hidden_state.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapter.parameters())
    shared = set(adapter.state_dict()) - {name for name in adapter.state_dict() if name.startswith("units.")}
    assert any("phm_rule" in name for name in shared) == options["shared_phm_rule"]
    assert any("W_" in name for name in shared) == options["shared_W_phm"]


@pytest.mark.parametrize(
    ("how", "spread"),
    [
        ("glorot-uniform", lambda rows, columns: math.sqrt(2 / (rows + columns))),
        ("glorot-normal", lambda rows, columns: math.sqrt(2 / (rows + columns))),
        ("normal", lambda rows, columns: 0.3),
    ],
)
def test_w_starts_as_its_field_says(how, spread):
    config = CompacterConfig(**SMALL, hypercomplex_nonlinearity=how, factorized_phm_W=False, phm_init_range=0.3)
    model = added(config)
    weights = [tensor for name, tensor in tensors_of(model.adapters["a"]).items() if name.endswith(".W")]
    flat = torch.cat([weight.flatten() for weight in weights])
    assert len(flat) >= 512
    wanted = spread(*weights[0].shape[1:])
    assert abs(flat.std().item() / wanted - 1) < 0.1
    most = flat.abs().max().item()
    assert (most <= wanted * math.sqrt(3) + 1e-6) == (how == "glorot-uniform")


@pytest.mark.parametrize("start", ["normal", "uniform"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_rule_starts_as_its_field_says(start, shared):
    config = CompacterConfig(
        reduction_factor=2, phm_dim=8, phm_c_init=start, phm_init_range=0.2, shared_phm_rule=shared
    )
    rules = [tensor for name, tensor in tensors_of(added(config).adapters["a"]).items() if "phm_rule" in name]
    flat = torch.cat([rule.flatten() for rule in rules])
    wanted = {(True, "normal"): 0.2, (True, "uniform"): 1 / math.sqrt(3)}.get((shared, start))
    wanted = wanted or (0.01 if start == "normal" else 0.01 / math.sqrt(3))
    assert abs(flat.std().item() / wanted - 1) < 0.12


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_rule_that_is_not_learned_stays_as_it_is(architecture, shared, tmp_path):
    config = CompacterPlusPlusConfig(**SMALL, learn_phm=False, shared_phm_rule=shared)
    model = added(config, architecture)
    randomise(model.adapters["a"])
    model.train_adapter("a")
    before = tensors_of(model.adapters["a"])
    trained = [p for p in model.adapters["a"].parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    model(**batch_for(model)).last_hidden_state.square().sum().backward()
    optimizer.step()
    still = {name for name, tensor in tensors_of(model.adapters["a"]).items() if torch.equal(tensor, before[name])}
    assert still and still == {name for name in before if "phm_rule" in name}
    model.save_adapter(tmp_path, "a")
    model.load_adapter(tmp_path, load_as="again")
    model.train_adapter("again")
    assert {n for n, _ in model.adapters["again"].named_buffers()} == still


def test_one_seed_gives_the_same_start_twice():
    config = CompacterConfig(**SMALL, init_weights_seed=7, phm_bias=False)
    first, second = (tensors_of(added(config).adapters["a"]) for _ in range(2))
    torch.manual_seed(5)
    model = tiny_model("bert")
    model.add_adapter("a", config)
    third = tensors_of(model.adapters["a"])
    assert all(torch.equal(first[name], other[name]) for other in (second, third) for name in first)


@pytest.mark.parametrize("factor", [3.7, 5, 16, 1000, {"0": 4, "default": 8}])
def test_a_width_within_is_a_multiple_of_the_number_of_products(factor):
    model = added(CompacterPlusPlusConfig(reduction_factor=factor))
    widths = {unit.up.W_left.size(0) * unit.up.W_left.size(1) for unit in model.adapters["a"].units.values()}
    width = model.base.config.width
    for inner in widths:
        assert inner % 4 == 0
    least = {key: max(4, int(width // value) // 4 * 4) for key, value in _by_layer(factor).items()}
    assert widths == set(least.values())


def _by_layer(factor):
    return dict(factor) if isinstance(factor, dict) else {"default": factor}


def test_widths_that_do_not_fit_are_told():
    model = tiny_model("bert")
    with refuses(ValueError, "phm_dim=3 must divide the layer's width, which is 32", model=model):
        model.add_adapter("a", CompacterConfig(phm_dim=3))
    factor = {"0": 4, "default": 8}
    with refuses(ValueError, "shared_W_phm needs layers of one width", "32 to 4, 32 to 8", model=model):
        model.add_adapter("a", CompacterConfig(reduction_factor=factor, shared_W_phm=True))
