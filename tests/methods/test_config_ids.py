"""Equality, hashes and AdapterHub's names of configs."""

from __future__ import annotations

from itertools import combinations

import pytest

from adapterzoo import AdapterPlusConfig, BnConfig, CompacterConfig, LoRAConfig, SeqBnConfig, get_adapter_config_hash
from adapterzoo.methods import PRESETS
from tests.helpers.adapting import CONFIGS
from tests.helpers.method_cases import CASES, PRESET_CASES, MethodCase, each_method
from tests.helpers.peer_adapters import adapters

PUBLISHED = {
    "seq_bn": "9076f36a74755ac4",
    "pfeiffer": "9076f36a74755ac4",
    "double_seq_bn": "b1017368d7a97b11",
    "houlsby": "b1017368d7a97b11",
    "par_bn": "211b85d66ae909db",
    "scaled_par_bn": "4197b24ec21c92f8",
    "seq_bn_inv": "9ed5b5a29de19b71",
    "pfeiffer+inv": "9ed5b5a29de19b71",
    "double_seq_bn_inv": "bcdbfdc759d7abf1",
    "compacter": "934efc0c1022a56f",
    "compacter++": "cfa13994accfb5f4",
    "mam": "97453c0dbc2dbc97",
    "unipelt": "67ac4937c601ad56",
    "prefix_tuning": "648bf22f5afeaaa6",
    "prefix_tuning_flat": "d61d9a6e9c3974ea",
}
"""What files on the Hub call the presets."""

COLLIDING = {
    "seq_bn": (SeqBnConfig(), SeqBnConfig(phm_layer=True)),
    "compacter": (CompacterConfig(), CompacterConfig(shared_phm_rule=False)),
    "bias": (CompacterConfig(), CompacterConfig(phm_bias=False)),
}
"""Configs that have one name there."""


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_their_published_names(preset):
    assert get_adapter_config_hash(PRESETS[preset]) == PUBLISHED[preset]
    assert get_adapter_config_hash(AdapterPlusConfig()) == "fd517df084609354"


@each_method({**{f"preset-{name}": MethodCase(name) for name in PRESET_CASES}, **CASES})
def test_every_config_has_the_name_that_the_peer_gives_it(case):
    adapters()
    from_peer = pytest.importorskip("adapters.utils").get_adapter_config_hash
    if not case.told:
        pytest.skip("the peer's library lacks a field")
    assert get_adapter_config_hash(case.ours) == from_peer(case.theirs)
    assert get_adapter_config_hash(case.ours, length=5) == from_peer(case.theirs, length=5)


def test_fields_may_be_left_out_of_the_name():
    assert get_adapter_config_hash(LoRAConfig(r=3), ignore_params=["r"]) == get_adapter_config_hash(
        LoRAConfig(r=4), ignore_params=["r"]
    )
    assert get_adapter_config_hash(LoRAConfig(r=3)) != get_adapter_config_hash(LoRAConfig(r=4))


@pytest.mark.parametrize("pair", COLLIDING.values(), ids=list(COLLIDING))
def test_configs_of_one_name_are_not_equal(pair):
    first, second = pair
    assert get_adapter_config_hash(first) == get_adapter_config_hash(second)
    assert first != second
    assert hash(first) != hash(second)


def test_no_two_kinds_are_equal_or_have_one_hash():
    for first, second in combinations(CONFIGS.values(), 2):
        assert first != second
        assert hash(first) != hash(second)


def test_configs_of_the_same_fields_are_equal_whatever_class_wrote_them():
    base = BnConfig.from_dict(SeqBnConfig().to_dict())
    assert base == SeqBnConfig() == SeqBnConfig(reduction_factor=16.0)
    assert hash(base) == hash(SeqBnConfig()) == hash(SeqBnConfig(reduction_factor=16.0))
