"""One adapter made of several: what each strategy means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adapterzoo.combining import STRATEGIES
from adapterzoo.combining.elementwise import Elementwise
from tests.helpers.adapting import CONFIGS, KINDS, add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import tiny_model

EVERY_METHOD = [name for name, way in STRATEGIES.items() if isinstance(way, Elementwise) and not way.only_pairs]
EXACT = ["cat", "svd", "lora_delta_w_svd"]
LORA = "lora[r=4, alpha=6, attn_matrices=['q', 'k', 'v'], intermediate_lora=True]"


def options(strategy, density=1.0, svd_rank=12):
    """What a strategy needs; without any loss, with the usual values."""
    needs = STRATEGIES[strategy].needs
    return {name: value for name, value in (("density", density), ("svd_rank", svd_rank)) if name in needs}


def with_loras(*configs, double=True):
    model = tiny_model("bert")
    model = model.double() if double else model
    for name, config in zip("abc", configs, strict=False):
        add_random(model, name, config)
    return model


def deltas(model, name):
    return {slug: unit.delta() for slug, unit in model.adapters[name].units.items()}


def state(model, name):
    return model.adapters[name].state_dict()


@pytest.mark.parametrize("strategy", EVERY_METHOD)
@pytest.mark.parametrize("kind", KINDS)
def test_any_method_and_one_adapter_alone_is_itself(kind, strategy):
    model = tiny_model("bert")
    add_random(model, "a", CONFIGS[kind])
    model.average_adapter("alone", ["a"], combine_strategy=strategy, **options(strategy))
    assert model.adapters["alone"].config == CONFIGS[kind] and model.active_adapters is None
    for name, tensor in state(model, "a").items():
        assert_close(state(model, "alone")[name], tensor, name)
    model.set_active_adapters("alone")
    model(**batch_for(model))


@pytest.mark.parametrize("kind", KINDS)
def test_linear_is_the_weighted_sum_of_every_tensor(kind):
    model = tiny_model("bert").double()
    for name in "ab":
        add_random(model, name, CONFIGS[kind])
    before = tensors_of(model)
    model.average_adapter("mean", ["a", "b"], weights=[1, 3])
    model.average_adapter("dict", {"a": 1.0, "b": 3.0})
    model.average_adapter("sum", {"a": 1.0, "b": 3.0}, normalize_weights=False)
    model.average_adapter("half", ["a", "b"], normalize_weights=False)
    model.average_adapter("task", {"a": 1.0, "b": -1.0}, normalize_weights=False)
    for name, a in state(model, "a").items():
        b = state(model, "b")[name]
        if not a.is_floating_point():
            continue
        for made, expected in (
            ("mean", 0.25 * a + 0.75 * b),
            ("dict", 0.25 * a + 0.75 * b),
            ("sum", a + 3 * b),
            ("half", (a + b) / 2),
            ("task", a - b),
        ):
            assert_close(state(model, made)[name], expected, f"{made} {name}")
    after = tensors_of(model)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.requires_grad for parameter in model.adapters["mean"].parameters())


@pytest.mark.parametrize("strategy", EXACT)
def test_updates_of_any_rank_and_scale_are_summed_exactly(strategy):
    model = with_loras(LORA, LORA.replace("r=4, alpha=6", "r=2, alpha=1, use_rslora=True"), LORA.replace("r=4", "r=6"))
    weights = [0.5, -2.0, 1.25]
    more = {"svd_rank": 12} if strategy != "cat" else {}
    model.average_adapter("sum", list("abc"), weights, strategy, normalize_weights=False, **more)
    config, parts = model.adapters["sum"].config, [deltas(model, name) for name in "abc"]
    assert (config["r"], config["alpha"], config["use_rslora"]) == (12, 12, False)
    for slug, found in deltas(model, "sum").items():
        expected = sum(weight * part[slug] for weight, part in zip(weights, parts, strict=True))
        assert_close(found, expected, slug)


def test_ranks_by_pattern_become_one_rank():
    model = with_loras(LORA.replace("]", "], rank_pattern={'mlp.*': 7}", 1), LORA)
    model.average_adapter("sum", ["a", "b"], [1, 1], "cat", normalize_weights=False)
    assert model.adapters["sum"].config["r"] == 11 and model.adapters["sum"].config["rank_pattern"] is None
    for slug, found in deltas(model, "sum").items():
        assert_close(found, deltas(model, "a")[slug] + deltas(model, "b")[slug], slug)


def test_a_decomposition_is_the_nearest_update_of_its_rank():
    model = with_loras(LORA, LORA)
    model.average_adapter("near", ["a", "b"], [1, 2], "svd", normalize_weights=False)
    assert model.adapters["near"].config["r"] == 4
    for slug, found in deltas(model, "near").items():
        whole = deltas(model, "a")[slug] + 2 * deltas(model, "b")[slug]
        left_over = torch.linalg.svdvals(whole)[4:].square().sum().sqrt()
        assert_close((whole - found).norm(), left_over, slug)


def test_factors_are_clamped_at_a_quantile():
    model = with_loras(LORA)
    model.average_adapter("all", ["a"], combine_strategy="svd", svd_clamp=1.0)
    model.average_adapter("most", ["a"], combine_strategy="svd", svd_clamp=0.9)
    whole, cut = (model.adapters[name].units["encoder-0-attn-q"] for name in ("all", "most"))
    factors = [torch.cat([unit.lora_B.flatten(), unit.lora_A.flatten()]) for unit in (whole, cut)]
    assert_close(factors[1].abs().max(), torch.quantile(factors[0], 0.9))


@pytest.mark.parametrize(
    ("strategy", "of_update"), [("lora_linear_only_negate_b", lambda w: w * abs(w)), ("lora_linear_sqrt", lambda w: w)]
)
def test_an_update_can_be_negated(strategy, of_update):
    model = with_loras(LORA)
    for weight in (-1.0, -0.5, 0.3):
        model.average_adapter("made", {"a": weight}, None, strategy, normalize_weights=False, overwrite_ok=True)
        for slug, found in deltas(model, "made").items():
            assert_close(found, of_update(weight) * deltas(model, "a")[slug], slug)


def test_ties_takes_the_mean_of_what_has_the_elected_sign():
    model = with_loras("bitfit", "bitfit", "bitfit")
    values = {"a": [3.0, -1.0, 2.0, 0.5], "b": [-4.0, -2.0, 1.0, 0.25], "c": [2.0, 5.0, 4.0, -3.0]}
    slug = "encoder-0-attn-q"
    for name, numbers in values.items():
        with torch.no_grad():
            model.adapters[name].units[slug].bias.zero_()[:4] = torch.tensor(numbers)

    def made(**more):
        model.average_adapter("made", {"a": 1, "b": 2, "c": 1}, None, "ties", False, overwrite_ok=True, **more)
        return model.adapters["made"].units[slug].bias[:4].tolist()

    assert made(density=1.0) == [(3 + 2) / 2, 5.0, (2 + 2 + 4) / 3, -3.0]
    assert made(density=1.0, majority_sign_method="frequency") == [(3 + 2) / 2, (-1 - 4) / 2, 8 / 3, (0.5 + 0.5) / 2]
    assert made(density=2 / 32) == [2 * -4.0, 5.0, (2.0 + 4.0) / 2, 0.0]


def test_magnitude_pruning_keeps_the_largest():
    model = with_loras("ln_tuning")
    model.average_adapter("made", ["a"], combine_strategy="magnitude_prune", density=0.25)
    for name, tensor in state(model, "a").items():
        kept = state(model, "made")[name]
        assert int((kept != 0).sum()) == tensor.numel() // 4
        assert tensor.abs()[kept == 0].max() <= kept[kept != 0].abs().min()
        assert torch.equal(kept[kept != 0], tensor[kept != 0])


def test_dare_draws_by_the_generator_and_keeps_the_mean():
    model = with_loras("seq_bn")

    def made(seed):
        generator = torch.Generator().manual_seed(seed)
        model.average_adapter("made", ["a"], None, "dare_linear", True, True, density=0.5, generator=generator)
        return tensors_of(model.adapters["made"])

    state_of_torch = torch.get_rng_state()
    first, again, other = made(0), made(0), made(1)
    assert torch.equal(torch.get_rng_state(), state_of_torch)
    assert same_bits(first, again) and not same_bits(first, other)
    for name, tensor in state(model, "a").items():
        kept = first[name] != 0
        assert_close(first[name][kept], 2 * tensor[kept], name)
    total = sum(int((tensor != 0).sum()) for tensor in first.values())
    assert 0.3 < total / sum(tensor.numel() for tensor in first.values()) < 0.7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_halves_are_combined_in_single_precision(strategy, dtype):
    model = with_loras(LORA, LORA, double=False)
    for name in "ab":
        model.adapter_to(name, dtype=dtype)
    more = options(strategy, density=0.5)
    model.average_adapter("made", ["a", "b"], combine_strategy=strategy, **more)
    assert {parameter.dtype for parameter in model.adapters["made"].parameters()} == {dtype}
    assert all(tensor.isfinite().all() for tensor in state(model, "made").values())


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_a_combination_is_saved_and_loaded(strategy, tmp_path: Path):
    model = with_loras(LORA, LORA, double=False)
    model.average_adapter("a", ["a", "b"], None, strategy, True, True, True, **options(strategy, 0.5))
    model.save_adapter(tmp_path, "a")
    model.load_adapter(tmp_path, load_as="again")
    assert model.adapters["again"].config == model.adapters["a"].config
    assert same_bits(tensors_of(model.adapters["again"]), tensors_of(model.adapters["a"]))


def test_what_may_differ_and_what_may_not():
    model = with_loras("seq_bn", "seq_bn[dropout=0.3]", "seq_bn[reduction_factor=8, non_linearity='gelu']")
    model.average_adapter("made", ["b", "a"])
    assert model.adapters["made"].config["dropout"] == 0.3
    with refuses(ValueError, "'c' cannot be combined with 'a'", "reduction_factor is 8, not 16", model=model):
        model.average_adapter("new", ["a", "c"])
    add_random(model, "x", "prefix_tuning[prefix_length=3]|lora[r=2]")
    add_random(model, "y", "prefix_tuning[prefix_length=3]|lora[r=4]")
    with refuses(ValueError, "its 1.r is 4, not 2", model=model):
        model.average_adapter("new", ["x", "y"])


WRONG = [
    ({"adapter_list": []}, "name at least one adapter to average"),
    ({"adapter_list": ["a", "mrpc"]}, "no adapter named 'mrpc'"),
    ({"adapter_list": ["a", "a"]}, "names one twice"),
    ({"weights": [1]}, "adapters to average: 2, but weights: 1"),
    ({"weights": [1, -1]}, "add up to 0"),
    ({"weights": [1, float("nan")]}, "weights must be numbers"),
    ({"adapter_list": {"a": 1, "b": 2}, "weights": [1, 2]}, "not both"),
    ({"combine_strategy": "sum"}, "no combine strategy 'sum'"),
    ({"combine_strategy": "ties"}, "'ties': it needs density"),
    ({"combine_strategy": "dare_linear", "density": 0.0}, "density must be above 0 and at most 1, not 0.0"),
    (
        {"combine_strategy": "ties", "density": 0.5, "majority_sign_method": "vote"},
        "'total' or 'frequency', not 'vote'",
    ),
    ({"combine_strategy": "linear", "density": 0.5, "svd_rank": 2}, "it takes no density; it takes no svd_rank"),
    ({"combine_strategy": "lora_delta_w_svd"}, "it needs svd_rank"),
    ({"combine_strategy": "svd", "svd_rank": 0}, "svd_rank must be a whole number above 0, not 0"),
    ({"combine_strategy": "cat", "adapter_list": ["c"]}, "LoRA alone"),
    ({"combine_strategy": "svd", "adapter_list": ["d"]}, "LoRA alone can be combined so, but 'd' has"),
    ({"combine_strategy": "lora_linear_only_negate_b", "adapter_list": ["c"]}, "LoRA alone"),
    ({"combine_strategy": "lora_linear_only_negate_b", "adapter_list": ["d"]}, "magnitude, too"),
    ({"adapter_name": "a"}, "already an adapter named 'a'"),
    ({"adapter_name": ""}, "must not be empty"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_arguments_are_refused(arguments, said):
    model = with_loras(LORA, LORA, "seq_bn")
    add_random(model, "d", "dora")
    with refuses(ValueError, said, model=model):
        model.average_adapter(**{"adapter_name": "new", "adapter_list": ["a", "b"], **arguments})


@pytest.mark.parametrize("strategy", EVERY_METHOD)
def test_heads_are_combined_by_the_same_strategies(strategy):
    model = tiny_model("bert")
    for name in "ab":
        model.add_masked_lm_head(name)
    more = options(strategy, density=1.0)
    model.average_head("alone", ["a"], combine_strategy=strategy, **more)
    for name, tensor in model.heads["a"].state_dict().items():
        assert_close(model.heads["alone"].state_dict()[name], tensor, name)
    assert model.heads["alone"].decoder.weight is model.base.token.weight
    model.average_head("both", {"a": 1, "b": 2}, combine_strategy=strategy, **options(strategy, 0.5))
    model(**batch_for(model), head="both")


def test_heads_have_no_updates():
    model = tiny_model("bert")
    model.add_classification_head("a")
    with refuses(ValueError, "'svd' is for adapters of LoRA, not for heads", model=model):
        model.average_head("new", ["a"], combine_strategy="svd")
    with refuses(ValueError, "'dare_ties': it needs density", model=model):
        model.average_head("new", ["a"], combine_strategy="dare_ties")
