"""LoRA's fields that do not go together are told, and no adapter comes of them."""

from __future__ import annotations

import pytest

from adapterzoo import DoRAConfig, IA3Config, LoRAConfig, MTLLoRAConfig, VeraConfig
from tests.helpers.refusing import refuses

WRONG = [
    (LoRAConfig, {"composition_mode": "mean"}, "composition_mode must be one of 'add', 'scale', not 'mean'"),
    (LoRAConfig, {"vera_d": 0.1}, "vera_d and vera_b must both be numbers, or both None"),
    (LoRAConfig, {"init_weights": "orthogonal", "r": 3}, "init_weights='orthogonal' needs an even r, not 3"),
    (LoRAConfig, {"init_weights": "orthogonal", "rank_pattern": {"mlp.*": 5}}, "needs an even r, not 5"),
    (LoRAConfig, {"init_weights": "pissa", "alpha": 0}, "init_weights='pissa' needs an alpha above 0, not 0"),
    (LoRAConfig, {"rank_pattern": {"mlp.*": 0}}, "rank_pattern must be above 0, each of them, not {'mlp.*': 0}"),
    (LoRAConfig, {"rank_pattern": {"mlp.*": 1.5}}, "rank_pattern must be a mapping from a string to a whole number"),
    (LoRAConfig, {"alpha_pattern": 4}, "alpha_pattern must be a mapping from a string to a number or None, not 4"),
    (LoRAConfig, {"sites": [1]}, "sites must be a string or a list, each element a string or None"),
    (IA3Config, {"r": 8}, "composition_mode='scale', which is (IA)³, needs r=1 everywhere, not 8"),
    (IA3Config, {"rank_pattern": {"attn.k": 2}}, "needs r=1 everywhere"),
    (IA3Config, {"dropout": 0.1}, "has no dropout, not 0.1"),
    (IA3Config, {"init_weights": "vera"}, "needs init_weights to be one of 'lora', 'bert', 'ia3', not 'vera'"),
    (IA3Config, {"use_dora": True}, "there is no 'scale+dora'; what goes together is add, add+dora"),
    (IA3Config, {"vera_d": 0.1, "vera_b": 0.0}, "there is no 'scale+vera'"),
    (DoRAConfig, {"use_gating": True}, "use_dora does not go with use_gating"),
    (VeraConfig, {"rank_pattern": {"attn.q": 2}}, "there is no rank_pattern={'attn.q': 2}"),
    (VeraConfig, {"init_weights": "pissa"}, "init_weights cannot be 'pissa'"),
    (MTLLoRAConfig, {"use_dora": True}, "use_dora must be False, not True"),
    (MTLLoRAConfig, {"init_weights": "pissa"}, "init_weights='pissa' is for one B alone"),
    (MTLLoRAConfig, {"n_up_projection": 0}, "n_up_projection must be above 0, not 0"),
    (MTLLoRAConfig, {"task_specific_matrix_type": "full"}, "must be one of 'singular_values', 'linear', not 'full'"),
    (MTLLoRAConfig, {"weights_sharpness": 0.0}, "weights_sharpness must be above 0, not 0.0"),
]


@pytest.mark.parametrize(("kind", "values", "said"), WRONG, ids=[str(values) for _, values, _ in WRONG])
def test_values_at_odds_are_told(one_model, kind, values, said):
    with refuses(ValueError, kind.__name__, said):
        kind(**values)
    with refuses(ValueError, said, model=one_model):
        one_model.add_adapter("new", {**kind().to_dict(), **values})


def test_a_rank_beyond_the_weights_is_told_for_pissa(one_model):
    width = one_model.base.config.width
    with refuses(ValueError, f"needs a rank of at most {width} here, not {2 * width}", model=one_model):
        one_model.add_adapter("new", LoRAConfig(init_weights="pissa", r=2 * width))


def test_patterns_that_fit_no_site_are_told_with_those_there_are(one_model):
    with refuses(ValueError, "covers no site of this network, which has attn.", model=one_model):
        one_model.add_adapter("new", LoRAConfig(sites="ffn.*"))
