"""How many parameters each preset has on roberta-base, as AdapterHub's library counts them."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterConfig, RobertaConfig
from adapterzoo.adapter import Adapter
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.methods import PRESETS
from adapterzoo.nn.transformer import Transformer

COUNTS = {
    "seq_bn": 894_528,
    "double_seq_bn": 1_789_056,
    "seq_bn_inv": 1_190_592,
    "double_seq_bn_inv": 2_085_120,
    "compacter": 57_088,
    "compacter++": 28_576,
    "prefix_tuning": 9_872_384,
    "prefix_tuning_flat": 552_960,
    "prompt_tuning": 7_680,
    "par_bn": 7_091_712,
    "scaled_par_bn": 7_091_724,
    "mam": 22_493_984,
    "unipelt": 11_083_376,
}
"""By preset."""


@pytest.fixture(scope="module")
def roberta_base() -> Transformer:
    """The network of roberta-base, without numbers."""
    config = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)
    with torch.device("meta"):
        return Transformer(ARCHITECTURES["roberta"].network(config))


def count(config: AdapterConfig, network: Transformer) -> int:
    """How many numbers an adapter holds, those that are not trained included."""
    with torch.device("meta"):
        adapter = Adapter(config, network)
    return sum(tensor.numel() for tensor in adapter.state_dict().values())


def test_the_network_has_the_size_that_it_has(roberta_base: Transformer) -> None:
    assert sum(parameter.numel() for parameter in roberta_base.parameters()) == 124_645_632


@pytest.mark.parametrize("preset", COUNTS)
def test_a_preset_has_as_many_parameters_as_published(roberta_base: Transformer, preset: str) -> None:
    assert count(PRESETS[preset], roberta_base) == COUNTS[preset]


def test_a_rule_that_is_not_learned_is_held_but_not_trained(roberta_base: Transformer) -> None:
    fixed = PRESETS["compacter"].replace(learn_phm=False)
    assert count(fixed, roberta_base) == COUNTS["compacter"]
    with torch.device("meta"):
        trained = sum(parameter.numel() for parameter in Adapter(fixed, roberta_base).parameters())
    assert COUNTS["compacter"] - trained == fixed["phm_dim"] ** 3


@pytest.mark.parametrize("preset", ["loreft", "noreft", "direft"])
def test_reft_trains_as_many_parameters_as_published(roberta_base: Transformer, preset: str) -> None:
    with torch.device("meta"):
        adapter = Adapter(PRESETS[preset], roberta_base)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 36_888
    held = sum(tensor.numel() for tensor in adapter.state_dict().values())
    assert held == 36_888 + (2 * 12 * 768**2 if PRESETS[preset]["orthogonality"] else 0)
