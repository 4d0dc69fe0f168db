"""Adapters' configs: every wrong value is named, all at once, and no adapter comes of it."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from adapterzoo import AdapterConfig, LoRAConfig, PrefixTuningConfig, SeqBnConfig, UnknownName
from adapterzoo.methods import METHODS, PRESETS
from adapterzoo.methods.base import resolve_config
from tests.helpers.refusing import refuses

WRONG_VALUES = [
    (LoRAConfig, {"r": "16"}, "r must be a whole number, not '16'"),
    (LoRAConfig, {"r": 0}, "r must be above 0, not 0"),
    (LoRAConfig, {"r": -1}, "r must be above 0, not -1"),
    (LoRAConfig, {"r": 1.5}, "r must be a whole number, not 1.5"),
    (LoRAConfig, {"r": True}, "r must be a whole number, not True"),
    (LoRAConfig, {"r": None}, "r must be a whole number, not None"),
    (LoRAConfig, {"alpha": "8"}, "alpha must be a number, not '8'"),
    (LoRAConfig, {"alpha": float("nan")}, "alpha must be a number, not nan"),
    (LoRAConfig, {"alpha": float("inf")}, "alpha must be a number, not inf"),
    (LoRAConfig, {"dropout": 2}, "dropout must be from 0 to below 1, not 2"),
    (LoRAConfig, {"dropout": -0.1}, "dropout must be from 0 to below 1, not -0.1"),
    (LoRAConfig, {"attn_matrices": ["z"]}, "attn_matrices must be one of 'q', 'k', 'v', each of them, not ('z',)"),
    (LoRAConfig, {"attn_matrices": "qv"}, "attn_matrices must be a list, each element a string, not 'qv'"),
    (LoRAConfig, {"selfattn_lora": "yes"}, "selfattn_lora must be True or False, not 'yes'"),
    (LoRAConfig, {"leave_out": ["0"]}, "leave_out must be a list, each element a whole number, not ('0',)"),
    (LoRAConfig, {"leave_out": 3}, "leave_out must be a list, each element a whole number, not 3"),
    (LoRAConfig, {"leave_out": [-1]}, "leave_out must be 0 or more, each of them, not (-1,)"),
    (LoRAConfig, {"init_weights": "zero"}, "init_weights must be one of 'lora', 'bert', 'ia3', 'vera', 'pissa', "),
    (LoRAConfig, {"init_weights_seed": 0.5}, "init_weights_seed must be a whole number or None, not 0.5"),
    (LoRAConfig, {"dtype": "int8"}, "dtype must be one of None, 'float16'"),
    (SeqBnConfig, {"reduction_factor": 0}, "reduction_factor must be above 0"),
    (SeqBnConfig, {"reduction_factor": "16"}, "reduction_factor must be a number or a mapping"),
    (SeqBnConfig, {"reduction_factor": {"0": 0, "default": 4}}, "reduction_factor must be above 0"),
    (SeqBnConfig, {"reduction_factor": {"encoder": 4}}, "'default'"),
    (SeqBnConfig, {"non_linearity": "softplusplus"}, "non_linearity must be an activation function (gelu,"),
    (SeqBnConfig, {"scaling": "big"}, "scaling must be a number, 'learned' or 'channel', not 'big'"),
    (SeqBnConfig, {"residual_before_ln": 1}, "residual_before_ln must be True or False or a string, not 1"),
    (SeqBnConfig, {"residual_before_ln": "pre_add"}, "one of True, False, 'post_add', not 'pre_add'"),
    (SeqBnConfig, {"stochastic_depth": 1}, "stochastic_depth must be from 0 to below 1, not 1"),
    (SeqBnConfig, {"inv_adapter": "flow"}, "inv_adapter must be one of None, 'nice', 'glow', not 'flow'"),
    (SeqBnConfig, {"inv_adapter_reduction_factor": 0}, "inv_adapter_reduction_factor must be above 0, not 0"),
    (SeqBnConfig, {"phm_layer": 1}, "phm_layer must be True or False, not 1"),
    (SeqBnConfig, {"phm_dim": 0}, "phm_dim must be above 0, not 0"),
    (SeqBnConfig, {"phm_rank": 0}, "phm_rank must be above 0, not 0"),
    (SeqBnConfig, {"phm_c_init": "zero"}, "phm_c_init must be one of 'normal', 'uniform', not 'zero'"),
    (SeqBnConfig, {"hypercomplex_nonlinearity": "relu"}, "hypercomplex_nonlinearity must be one of 'glorot-uniform'"),
    (PrefixTuningConfig, {"prefix_length": 0}, "prefix_length must be above 0, not 0"),
    (PrefixTuningConfig, {"bottleneck_size": 2.0}, "bottleneck_size must be a whole number, not 2.0"),
]


@pytest.mark.parametrize(("kind", "values", "said"), WRONG_VALUES, ids=[str(values) for _, values, _ in WRONG_VALUES])
def test_a_wrong_value_is_told_by_every_way_to_a_config(one_model, kind, values, said):
    with refuses(ValueError, kind.__name__, said):
        kind(**values)
    with refuses(ValueError, said):
        kind().replace(**values)
    with refuses(ValueError, said, model=one_model):
        one_model.add_adapter("new", {**kind().to_dict(), **values})


@pytest.mark.parametrize("config", METHODS.values(), ids=list(METHODS))
def test_no_field_of_any_method_takes_a_value_of_no_kind(config):
    example = next(preset for preset in PRESETS.values() if isinstance(preset, config))
    for field in fields(example):
        with refuses(ValueError, f"{field.name} must be"):
            example.replace(**{field.name: object()})


def test_all_wrong_values_are_told_at_once():
    with refuses(ValueError, "r must be", "alpha must be", "dropout must be", "attn_matrices must be"):
        LoRAConfig(r="16", alpha="x", dropout=2, attn_matrices=["z"])


def test_values_at_odds_with_each_other_are_told():
    with refuses(ValueError, "residual_before_ln='post_add' needs original_ln_before=True"):
        SeqBnConfig(residual_before_ln="post_add", original_ln_before=False)
    with refuses(ValueError, "inv_adapter='nice' needs an inv_adapter_reduction_factor"):
        SeqBnConfig(inv_adapter="nice")


@pytest.mark.parametrize("config", METHODS.values(), ids=list(METHODS))
def test_an_unknown_field_is_told_with_those_there_are(config, one_model):
    example = next(preset for preset in PRESETS.values() if isinstance(preset, config))
    known = [field.name for field in fields(example)]
    wrong = known[0] + "s"
    with refuses(ValueError, f"no field {wrong!r}", *known, f"did you mean {known[0]!r}?", model=one_model):
        one_model.add_adapter("new", {**example.to_dict(), wrong: 1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lorra", "no adapter config 'lorra'; there are"),
        ("lorra", "did you mean 'lora'?"),
        ("", "no adapter config ''; there are"),
        ("[r=4]", "no adapter config ''"),
        ("lora[r=4", "has no closing bracket; write it as name[key=value, …]"),
        ("lora[r=4]x", "has no closing bracket"),
        ("lora[4]", "does not read as name[key=value, …]"),
        ("lora[r 4]", "does not read as name[key=value, …]"),
        ("lora[**{}]", "does not read as name[key=value, …]"),
        ("lora[r=4)(r=2]", "does not read as name[key=value, …]"),
        ("lora[r=4, r=5]", "gives r twice"),
        ("lora[r=four]", "the value of r is no number, list or quoted string"),
        ("lora[r=__import__('os')]", "the value of r is no number, list or quoted string"),
        ("lora[r={[]: 1}]", "the value of r is no number, list or quoted string"),
        ("lora[rank=4]", "LoRAConfig: no field 'rank'; there are"),
        ("lora[r='4']", "r must be a whole number, not '4'"),
        ("lora|", "no adapter config ''; there are"),
        ("|", "no adapter config ''; there are"),
        ("lora | par_bm", "no adapter config 'par_bm'; there are"),
        ("lora[r=4 | par_bn", "config string 'lora[r=4 | par_bn' has no closing bracket"),
        ("seq_bn|par_bn", "members 0 (bottleneck) and 1 (bottleneck) of the union both act at"),
    ],
)
def test_a_string_that_is_no_config_is_told(one_model, text, said):
    with refuses(ValueError, said, model=one_model):
        one_model.add_adapter("new", text)


def test_a_bar_within_brackets_is_no_union():
    with refuses(ValueError, "init_weights must be one of", "'a|b'"):
        resolve_config("lora[init_weights='a|b']")


@pytest.mark.parametrize("config", [5, object(), ["lora"], LoRAConfig])
def test_something_else_than_a_config_is_told(one_model, config):
    with refuses(TypeError, "an adapter config is a name", "a config, a dict or a path", model=one_model):
        one_model.add_adapter("new", config)


def test_a_method_that_is_not_there_is_told(one_model):
    with refuses(UnknownName, "no adapter method 'onion'; there are ", model=one_model):
        one_model.add_adapter("new", {"architecture": "onion", "configs": []})
    with refuses(UnknownName, "no adapter method 'onion'; there are ", model=one_model):
        one_model.add_adapter("new", {"architecture": "union", "configs": [{"architecture": "onion"}]})
    with refuses(UnknownName, "no adapter method ['lora']", model=one_model):
        one_model.add_adapter("new", {"architecture": ["lora"]})


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, FileNotFoundError, "config.json"),
        ("{", ValueError, "config.json is not JSON"),
        ("[1]", ValueError, "should hold a config's fields and values, not list"),
        ('{"config": 5}', ValueError, "should hold a config's fields and values, not int"),
        (json.dumps({"config": {"architecture": "lora", "r": 0}}), ValueError, "r must be above 0, not 0"),
    ],
)
def test_a_config_file_that_holds_none_is_told(one_model, tmp_path, content, error, said):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with refuses(error, said, model=one_model, folder=tmp_path):
        one_model.add_adapter("new", str(path))


def test_layers_that_do_not_exist_are_told(model):
    layers = model.base.config.layers
    with refuses(ValueError, f"leave_out names {layers}", f"layers are 0 to {layers - 1}", model=model):
        model.add_adapter("new", LoRAConfig(leave_out=[layers]))
    with refuses(ValueError, f"skip_layers names {layers}", f"layers are 0 to {layers - 1}", model=model):
        model.set_active_adapters("en", skip_layers=[0, layers])
    with refuses(ValueError, "skip_layers names '0'", model=model):
        model.set_active_adapters("en", skip_layers=["0"])


def test_a_config_may_leave_out_layers_of_deeper_networks_too(model):
    model.add_adapter("new", LoRAConfig(leave_out=[0, model.base.config.layers]))
    assert all("-0-" not in slug.replace("decoder-0-", "") for slug in model.adapters["new"].units)


def test_a_config_that_covers_nothing_is_told(model):
    every_layer = list(range(model.base.config.layers))
    with refuses(ValueError, "covers no site of this network, which has attn.", model=model):
        model.add_adapter("new", LoRAConfig(leave_out=every_layer))
    with refuses(ValueError, "covers no site", model=model):
        model.add_adapter("new", LoRAConfig(selfattn_lora=False))
    with refuses(ValueError, "has neither layer 1 nor 'default'", model=model):
        model.add_adapter("new", SeqBnConfig(reduction_factor={"0": 4}))


def test_the_base_of_all_configs_is_no_config(one_model):
    with refuses(TypeError, "AdapterConfig is no method", model=one_model):
        one_model.add_adapter("new", AdapterConfig())


@pytest.mark.parametrize("config", ["seq_bn[reduction_factor=1e-9]", "seq_bn_inv[inv_adapter_reduction_factor=1e-320]"])
def test_a_bottleneck_of_no_size_is_told(one_model, config):
    with refuses(ValueError, "would make", "is the most", model=one_model):
        one_model.add_adapter("new", config)
