"""BitFit and LayerNorm tuning: what they compute, where, and that merging them gives the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from adapterzoo import BitFitConfig, LNTuningConfig
from adapterzoo.core.run import BARE, Ctx
from adapterzoo.core.sites import sites_of
from adapterzoo.methods.patterns import matches
from adapterzoo.nn.layout import Layout
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import DISTINCT, randomise, tiny_model

LAYOUT = Layout(2, 3, None, False)


def slugs(model, config):
    model.add_adapter("a", config, overwrite_ok=True)
    return set(model.adapters["a"].units)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_bitfit_is_at_every_bias_and_layernorm_tuning_at_every_layernorm(architecture):
    model = tiny_model(architecture)
    sites = sites_of(model.base.config)
    assert slugs(model, "bitfit") == {site.slug for site in sites if site.kind in ("linear", "norm")}
    assert slugs(model, "ln_tuning") == {site.slug for site in sites if site.kind == "norm"}


def test_patterns_say_where():
    model = tiny_model("bart")
    assert slugs(model, BitFitConfig(sites="decoder.1.mlp.*")) == {
        f"decoder-1-mlp-{part}" for part in ("up", "down", "norm")
    }
    assert slugs(model, "bitfit[sites=['*.q', 'embed.norm'], leave_out=[0, 1, 2]]") == {
        "decoder-1-attn-q",
        "decoder-1-cross-q",
        "encoder-embed-norm",
        "decoder-embed-norm",
    }
    assert slugs(model, LNTuningConfig(sites=["encoder.*"], leave_out=[0])) == {
        "encoder-embed-norm",
        "encoder-1-attn-norm",
        "encoder-1-mlp-norm",
    }


def test_a_pattern_is_of_a_name_or_of_a_path():
    site = next(site for site in sites_of(tiny_model("bert").base.config) if site.path == "encoder.1.attn.q")
    for pattern in ("attn.q", "attn.*", "encoder.?.attn.q", "*.[qk]", ("mlp.*", "attn.q")):
        assert matches(pattern, site), pattern
    for pattern in ("q", "attn", "encoder.0.*", "ATTN.Q", (), ("mlp.*", "attn.k")):
        assert not matches(pattern, site), pattern


@pytest.mark.parametrize("method", ["bitfit", "ln_tuning"])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_merged_unit_computes_what_the_unit_does(architecture, method):
    model = tiny_model(architecture).double()
    model.add_adapter("a", method)
    for site in sites_of(model.base.config):
        unit = model.adapters["a"].module_at(site)
        if unit is None:
            continue
        randomise(unit)
        x = torch.randn(2, 3, site.d_in, dtype=torch.float64)
        frozen = torch.randn(site.d_out, site.d_in), torch.randn(site.d_out)
        norm = None
        if site.kind == "norm":
            frozen = torch.randn(site.d_out), torch.randn(site.d_out)
            norm = torch.nn.LayerNorm(site.d_out, 1e-3).double()
        weight, bias = (tensor.double() for tensor in frozen)

        def run(weight, bias, x=x, norm=norm):
            return F.linear(x, weight, bias) if norm is None else F.layer_norm(x, x.shape[-1:], weight, bias, norm.eps)

        given = Ctx(LAYOUT, BARE, x=x, weight=lambda pair=(weight, bias): pair, norm=norm)
        assert_close(run(*unit.merged(weight, bias, (weight, bias))), unit(run(weight, bias), given), site.path)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_whole_model_has_the_biases_that_bitfit_adds(architecture):
    torch.manual_seed(0)
    model = tiny_model(architecture).eval()
    add_random(model, "a", "ln_tuning")
    batch = batch_for(model)
    model.set_active_adapters("a")
    with torch.no_grad():
        adapted = model(**batch).last_hidden_state
        model.set_active_adapters(None)
        for site in sites_of(model.base.config):
            unit = model.adapters["a"].module_at(site)
            if unit is not None:
                norm = model.base.norm_of(site)
                gain, bias = unit.merged(norm.weight, norm.bias, (norm.weight, norm.bias))
                norm.weight.copy_(gain)
                norm.bias.copy_(bias)
        assert_close(model(**batch).last_hidden_state, adapted)
