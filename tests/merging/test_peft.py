"""Combinations of LoRAs are PEFT's `add_weighted_adapter`, live, through copied tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo.core.sites import sites_of
from tests.helpers.adapting import randomise
from tests.helpers.comparing import assert_close
from tests.helpers.peer_adapters import off
from tests.helpers.tiny import tiny_model

peft = pytest.importorskip("peft", reason="parity is with PEFT")
transformers = pytest.importorskip("transformers", reason="PEFT acts on its models")

NAMES = ["x1", "x2", "x3"]
WEIGHTS = [0.7, -0.4, 1.3]
SAME_RANK = [(4, 6), (4, 6), (4, 6)]
RANKS = [(4, 6), (2, 8), (3, 1)]
OURS = {"linear": "lora_linear_sqrt"}
"""Strategies that have another name here."""

Ranks = list[tuple[int, float]]


def their_model(ranks: Ranks, **more: Any) -> Any:
    """A tiny BERT of transformers' with LoRAs of PEFT's, all random."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=60, **sizes))
    targets = ["query", "value", "intermediate.dense"]
    for name, (r, alpha) in zip(NAMES, ranks, strict=True):
        config = peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=targets, **more)
        if name == NAMES[0]:
            model = peft.get_peft_model(model, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data.normal_(std=0.2)
    return model


def their_layers(theirs: Any) -> dict[str, Any]:
    """PEFT's layers by our names of the places."""
    names = {"attention.self.query": "attn-q", "attention.self.value": "attn-v", "intermediate.dense": "mlp-up"}
    layers = theirs.base_model.model.encoder.layer
    return {
        f"encoder-{number}-{ours}": layer.get_submodule(name)
        for number, layer in enumerate(layers)
        for name, ours in names.items()
    }


def our_model(theirs: Any, ranks: Ranks, **more: Any) -> Any:
    """Our tiny BERT with LoRAs of the same tensors."""
    ours = tiny_model("bert")
    for name, (r, alpha) in zip(NAMES, ranks, strict=True):
        ours.add_adapter(name, {"architecture": "lora", "intermediate_lora": True, "r": r, "alpha": alpha, **more})
        for slug, layer in their_layers(theirs).items():
            ours.adapters[name].units[slug].load_state_dict(
                {"lora_A": layer.lora_A[name].weight, "lora_B": layer.lora_B[name].weight}
            )
    return ours


def combined(theirs: Any, ours: Any, strategy: str, **more: Any) -> list[tuple[str, Tensor, Tensor]]:
    """Both libraries' updates, by place: PEFT's, ours."""
    with pytest.MonkeyPatch.context() as patch:  # what it does after giving the new adapter random weights
        patch.setattr(peft.tuners.lora.model, "_freeze_adapter", lambda *_: torch.manual_seed(1))
        theirs.add_weighted_adapter(NAMES, WEIGHTS, "made", strategy, **more)
    torch.manual_seed(1)
    own = OURS.get(strategy, strategy)
    ours.average_adapter("made", NAMES, WEIGHTS, own, normalize_weights=False, **more)
    return [
        (slug, layer.get_delta_weight("made"), ours.adapters["made"].units[slug].delta())
        for slug, layer in their_layers(theirs).items()
    ]


CASES = [("linear", {}), ("cat", {}), ("svd", {}), ("svd", {"svd_rank": 2}), ("svd", {"svd_rank": 7})]
CASES += [
    (f"{name}{end}", {"density": density, **sign})
    for name in ("magnitude_prune", "ties", "dare_linear", "dare_ties")
    for end in ("", "_svd")
    for density in (0.3, 0.8)
    for sign in ([{"majority_sign_method": how} for how in ("total", "frequency")] if "ties" in name else [{}])
]


@pytest.mark.parametrize(("strategy", "more"), CASES, ids=str)
def test_the_numbers_are_pefts(strategy: str, more: dict[str, Any]) -> None:
    ranks = RANKS if strategy in ("cat", "svd") else SAME_RANK
    theirs = their_model(ranks)
    for slug, expected, found in combined(theirs, our_model(theirs, ranks), strategy, **more):
        assert_close(found, expected, slug)


def test_pefts_factors_are_clamped_alike() -> None:
    theirs = their_model(SAME_RANK)
    ours = our_model(theirs, SAME_RANK)
    combined(theirs, ours, "svd", svd_clamp=0.9)
    for slug, layer in their_layers(theirs).items():
        unit = ours.adapters["made"].units[slug]
        assert_close(unit.lora_B.abs().max(), layer.lora_B["made"].weight.abs().max(), slug)
        assert_close(unit.lora_A.abs(), layer.lora_A["made"].weight.abs(), slug)


@pytest.mark.parametrize("strategy", ["linear", "cat", "svd"])
def test_updates_scaled_by_the_root_of_the_rank_are_summed_as_they_are(strategy: str) -> None:
    theirs = their_model(SAME_RANK, use_rslora=True)
    ours = our_model(theirs, SAME_RANK, use_rslora=True)
    slug, wrong, right = combined(theirs, ours, strategy)[0]
    parts = [ours.adapters[name].units[slug].delta() for name in NAMES]
    law = sum(weight * part for weight, part in zip(WEIGHTS, parts, strict=True))
    if strategy == "cat":
        assert_close(right, law)
    off(wrong.detach(), right.detach())


def test_merging_and_taking_out_is_pefts() -> None:
    theirs = their_model(RANKS)
    ours = our_model(theirs, RANKS)
    randomise(ours.base)
    for slug, layer in their_layers(theirs).items():
        layer.base_layer.weight.data.copy_(weight_at(ours, slug))
    theirs.base_model.merge_adapter(NAMES[:2])
    ours.merge_adapter(NAMES[:2])
    for slug, layer in their_layers(theirs).items():
        assert_close(weight_at(ours, slug), layer.base_layer.weight, slug)


def weight_at(model: Any, slug: str) -> Tensor:
    """The weight of a site."""
    weights = {
        site.slug: model.base.weight_of(site)[0] for site in sites_of(model.base.config) if site.kind == "linear"
    }
    return weights[slug]
