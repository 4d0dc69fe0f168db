"""Configs: the same presets, the same strings, the same number of parameters."""

from __future__ import annotations

from typing import Any

import pytest

from adapterzoo import RobertaAdapterModel, RobertaConfig
from adapterzoo.methods import PRESETS
from adapterzoo.methods.base import resolve_config
from tests.helpers.method_cases import CASES, PRESET_CASES, MethodCase, each_method
from tests.helpers.peer_adapters import adapters

STRINGS = (
    "lora[r=16]",
    "lora[r=16, alpha=32, dropout=0.1, attn_matrices=['q', 'k', 'v']]",
    "lora[leave_out=[0,1],use_gating=True]",
    "lora[init_weights_seed=None]",
    "seq_bn[reduction_factor=4, non_linearity='gelu']",
    "pfeiffer[reduction_factor=0.5,ln_before=True]",
    "seq_bn[reduction_factor={'0': 2, 'default': 16}]",
    "double_seq_bn[original_ln_after=False]",
    "par_bn[scaling='channel']",
    "scaled_parallel[scaling=2.0]",
    'seq_bn[residual_before_ln="post_add"]',
    "prefix_tuning[flat=True, prefix_length=10]",
    "prefix_tuning_flat[cross_prefix=False]",
    "prefix_tuning[non_linearity='relu', dropout=1e-1]",
    "lora[]",
    "prompt_tuning[prompt_length=5, combine='prefix_after_bos']",
    "loreft[layers=[0, 1], prefix_positions=2, suffix_positions=4, tied_weights=True]",
)
BROKEN = ("nothing", "lora[r]", "lora[r=]", "lora[8]", "lora[s=8]", "lora[init_weights=bert]", "lora[r=8", "lora[r=8]]")

PUBLISHED = {
    "pfeiffer": 894_528,
    "seq_bn": 894_528,
    "houlsby": 1_789_056,
    "double_seq_bn": 1_789_056,
    "pfeiffer+inv": 1_190_592,
    "houlsby+inv": 2_085_120,
    "compacter": 57_088,
    "compacter++": 28_576,
    "prefix_tuning": 9_872_384,
    "prefix_tuning_flat": 552_960,
    "parallel": 7_091_712,
    "scaled_parallel": 7_091_724,
    "lora": 294_912,
    "ia3": 55_296,
    "dora": 313_344,
    "mam": 22_493_984,
    "prompt_tuning": 7_680,
    "loreft": 36_888,
    "noreft": 36_888,
    "direft": 36_888,
}
"""Parameters that each preset of AdapterHub's library has on roberta-base."""


@each_method({**PRESET_CASES, **CASES, "adapter-plus-as-it-is": MethodCase("AdapterPlusConfig")})
def test_configs_hold_the_same_fields(case: MethodCase) -> None:
    own = case.ours.own_fields
    assert {key: value for key, value in case.ours.to_dict().items() if key not in own} == case.theirs.to_dict()


@pytest.mark.parametrize("text", STRINGS)
def test_config_strings_mean_the_same(text: str) -> None:
    assert resolve_config(text).to_dict() == adapters().AdapterConfig.load(text).to_dict()


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_config_string_there_is_none_here(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        adapters().AdapterConfig.load(text)
    with pytest.raises(ValueError):
        resolve_config(text)


@pytest.fixture(scope="module")
def roberta_base() -> Any:
    """roberta-base without numbers."""
    config = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    return RobertaAdapterModel(config, initialise=False)


@pytest.mark.parametrize("preset", [name for name in PUBLISHED if name in PRESETS])
def test_presets_have_the_published_number_of_parameters_on_roberta_base(roberta_base: Any, preset: str) -> None:
    roberta_base.add_adapter("a", preset, overwrite_ok=True)
    rows = roberta_base.adapter_summary(as_dict=True)
    assert rows[0]["#param"] == PUBLISHED[preset]
    assert rows[-1]["#param"] == 124_645_632
