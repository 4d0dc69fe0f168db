"""Where Compacter, names of configs and layers left out at load differ from the peer's, and what the law is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers import adapting
from tests.helpers.method_cases import CASES, each_distinct
from tests.helpers.peer_adapters import adapters, add_random, hidden, inputs_of, peer_parameters, real_positions, same
from tests.parity_adapters.conftest import Pair
from tests.parity_adapters.test_loading import compare, saved

Pairs = Callable[[Architecture], Pair]

PHM = {**CASES["phm-whole"].changes, "reduction_factor": 2, "phm_dim": 2}


def numbers(tensors: Mapping[str, torch.Tensor], ending: str) -> torch.Tensor:
    """Return all numbers of the tensors whose names end so."""
    return torch.cat([tensor.detach().flatten() for name, tensor in tensors.items() if name.endswith(ending)])


@pytest.mark.parametrize("how", ["glorot-uniform", "normal"])
def test_w_starts_as_its_field_says_and_in_the_peer_always_glorot_normal(pairs: Pairs, how: str) -> None:
    theirs, ours = pairs(ARCHITECTURES["bert"])
    fields = {**PHM, "hypercomplex_nonlinearity": how, "phm_init_range": 0.001}
    theirs.add_adapter("a", config=adapters().BnConfig(**fields))
    ours.add_adapter("a", adapterzoo.BnConfig(**fields))
    state = adapting.tensors_of(ours.adapters["a"])
    mine, peers = numbers(state, ".W"), numbers(peer_parameters(theirs, "a"), ".W")
    rows_and_columns = next(tensor for name, tensor in state.items() if name.endswith(".W")).shape[1:]
    glorot = (2 / sum(rows_and_columns)) ** 0.5
    wanted = glorot if how == "glorot-uniform" else 0.001
    assert abs(mine.std() / wanted - 1) < 0.1
    assert abs(peers.std() / glorot - 1) < 0.1
    if how == "glorot-uniform":
        assert mine.abs().max() <= glorot * 3**0.5 < peers.abs().max()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"shared_W_phm": True, "factorized_phm_W": False}, NameError),
        ({"init_weights": "mam_adapter"}, AttributeError),
        ({"init_weights": "houlsby"}, AttributeError),
        ({"reduction_factor": 4.0, "shared_W_phm": True, "factorized_phm_W": True}, TypeError),
        ({"reduction_factor": 1000}, AssertionError),
    ],
    ids=str,
)
def test_options_run_here_that_are_exceptions_there(pairs: Pairs, changes: dict[str, Any], error: type) -> None:
    architecture = ARCHITECTURES["bert"]
    theirs, ours = pairs(architecture)
    fields = {**PHM, **changes}
    adapting.add_random(ours, "a", adapterzoo.BnConfig(**fields))
    ours.set_active_adapters("a")
    assert torch.isfinite(hidden(ours, inputs_of(architecture))).all()
    with pytest.raises(error):
        theirs.add_adapter("a", config=adapters().BnConfig(**fields))
    theirs.adapters_config.adapters.pop("a", None)


def test_a_rule_that_is_not_learned_is_trained_by_the_peer(pairs: Pairs) -> None:
    theirs, ours = pairs(ARCHITECTURES["bert"])
    fields = {**PHM, "learn_phm": False}
    theirs.add_adapter("a", config=adapters().BnConfig(**fields))
    ours.add_adapter("a", adapterzoo.BnConfig(**fields))
    for model in (theirs, ours):
        model.train_adapter("a")
    rules = [p for name, p in peer_parameters(theirs, "a").items() if "phm_rule" in name]
    assert rules and all(rule.requires_grad for rule in rules)
    assert not any("phm_rule" in name for name, _ in ours.adapters["a"].named_parameters())
    assert any("phm_rule" in name for name, _ in ours.adapters["a"].named_buffers())


def test_two_configs_of_one_name_stay_two_and_become_one_in_the_peer(pairs: Pairs, tmp_path: Path) -> None:
    theirs, ours = pairs(ARCHITECTURES["bert"])
    configs = {"a": {}, "b": {"phm_layer": True, "reduction_factor": 4}}
    for name, changes in configs.items():
        plain = {**{"reduction_factor": 4}, **changes}
        theirs.add_adapter(name, config=adapters().SeqBnConfig(**plain))
        ours.add_adapter(name, adapterzoo.SeqBnConfig(**plain))
    assert [ours.adapters_config.get(name)["phm_layer"] for name in "ab"] == [False, True]
    told = [theirs.adapters_config.get(name)["phm_layer"] for name in "ab"]
    assert told[0] == told[1]  # which of the two it is does not matter: one of the adapters has another
    ours.save_adapter(tmp_path, "a")
    assert ours.load_adapter(tmp_path, load_as="again") == "again"


@each_distinct
@pytest.mark.parametrize("case", ["compacter", "phm-own-rule", "phm-shared-w"])
def test_layers_of_compacter_may_be_left_out_at_load(
    pairs: Pairs, architecture: Architecture, case: str, tmp_path: Path
) -> None:
    pair = pairs(architecture)
    if architecture.specialise is not None:
        pytest.skip("the peer counts the layers of each part of a pair from 0")
    compare(pair, architecture, saved(pair, tmp_path, CASES[case].theirs), leave_out=[1])


@each_distinct
@pytest.mark.parametrize("case", ["prefix", "prefix-flat", "prefix-gates", "union-three"])
def test_layers_of_prefixes_and_unions_may_be_left_out_at_load_and_not_in_the_peer(
    pairs: Pairs, architecture: Architecture, case: str, tmp_path: Path
) -> None:
    theirs, ours = pairs(architecture)
    add_random(theirs, "a", CASES[case].theirs)
    theirs.save_adapter(str(tmp_path), "a")
    ours.load_adapter(tmp_path, load_as="whole")
    ours.load_adapter(tmp_path, load_as="a", leave_out=[1])
    assert ours.adapters_config.get("a") == CASES[case].ours.without(frozenset([1]))
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    ours.set_active_adapters("whole", skip_layers=[1])
    law = hidden(ours, inputs)
    ours.set_active_adapters("a")
    same(hidden(ours, inputs), law, where)
    theirs.delete_adapter("a")
    if "configs" in CASES[case].ours.to_dict():
        theirs.load_adapter(str(tmp_path), leave_out=[1])
        assert theirs.adapters_config.get("a").to_dict() == CASES[case].theirs.to_dict()
    else:
        with pytest.raises(RuntimeError, match="size mismatch"):
            theirs.load_adapter(str(tmp_path), leave_out=[1])
