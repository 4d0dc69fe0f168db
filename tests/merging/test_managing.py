"""Adapters looked at, renamed, copied, swapped, moved to another dtype, ejected and frozen."""

from __future__ import annotations

import copy

import pytest
import torch

from adapterzoo import AdapterSetup, BatchSplit, Fuse, Parallel, Stack, UnknownName
from adapterzoo.methods import METHODS
from tests.helpers.adapting import CONFIGS, KINDS, add_random, randomise, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_same, gradients
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, NAMES, tiny_model


def run(model, batch, **call):
    with torch.no_grad():
        return model(**batch, **call)


def with_adapters(*kinds, architecture="bert"):
    model = tiny_model(architecture)
    for kind in kinds:
        add_random(model, kind)
    return model


# ---------------------------------------------------------------------------------------------- looked at


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["bert", "bart"])
def test_every_parameter_lies_at_some_layer_and_place(architecture, kind):
    model = with_adapters(kind, architecture=architecture)
    found = model.get_adapter(kind)
    assert set(found) <= {-1, *range(model.base.config.layers)}
    listed = [p for places in found.values() for module in places.values() for p in module.parameters()]
    own = list(model.adapters[kind].parameters())
    assert len(listed) == len(own) and set(map(id, listed)) == set(map(id, own))


def test_places_have_the_names_of_adapterhubs_library():
    model = with_adapters("lora", "double_seq_bn", "seq_bn_inv", "prompt_tuning", "bitfit", architecture="bert")
    assert {place for places in model.get_adapter("lora").values() for place in places} == {"selfattn_lora"}
    assert set(model.get_adapter("double_seq_bn")[0]) == {"mh_adapter", "output_adapter"}
    assert set(model.get_adapter("seq_bn_inv")[-1]) == {"invertible"}
    assert set(model.get_adapter("prompt_tuning")[-1]) == {"prompt"}
    assert "attn.out" in model.get_adapter("bitfit")[0]
    with refuses(UnknownName, "no adapter named 'mrpc'", model=model):
        model.get_adapter("mrpc")


def test_an_encoder_decoders_places():
    model = with_adapters("prefix_tuning", architecture="bart")
    found = model.get_adapter("prefix_tuning")
    assert set(found[0]) == {"encoder_prefix"} and set(found[2]) == {"self_prefix", "cross_prefix"}
    assert set(found[-1]["shared"]) == {"encoder_prefix", "self_prefix", "cross_prefix"}


@pytest.mark.parametrize("architecture", NAMES)
def test_every_method_has_a_place(architecture):
    model = tiny_model(architecture)
    for method in (*METHODS, "invertible", "lora[sites='mlp.*']", *CONFIGS.values()):
        assert model.supports_adapter(method), method
    assert not model.supports_adapter("quantum")
    assert not model.supports_adapter("lora[sites='head.*']")


def test_whether_rows_are_answered_several_times():
    model = with_adapters("lora", "seq_bn")
    assert not model.has_parallel_adapters
    model.set_active_adapters(BatchSplit("lora", "seq_bn", batch_sizes=2))
    assert not model.has_parallel_adapters
    model.set_active_adapters(Parallel("lora", "seq_bn"))
    assert model.has_parallel_adapters


def test_the_summary_tells_of_fusions():
    model = with_adapters("seq_bn", "par_bn")
    model.add_adapter_fusion(Fuse("seq_bn", "par_bn"), set_active=True)
    rows = {row["name"]: row for row in model.adapter_summary(as_dict=True)}
    fusion = rows["seq_bn,par_bn"]
    assert fusion["architecture"] == "fusion" and fusion["active"]
    assert fusion["#param"] == sum(p.numel() for p in model.fusions["seq_bn,par_bn"].parameters())
    assert "seq_bn,par_bn" in model.adapter_summary()


def test_where_the_model_came_from():
    model = with_adapters("lora")
    assert model.model_name == ""
    model.config.extra["_name_or_path"] = "bert-base-uncased"
    assert model.model_name == "bert-base-uncased"


# ---------------------------------------------------------------------------------------------- renamed and copied


def test_what_is_active_follows_a_new_name():
    model = with_adapters("lora", "seq_bn", "par_bn")
    model.add_classification_head("lora")
    model.add_classification_head("seq_bn")
    model.add_adapter_fusion(Fuse("lora", "seq_bn"))
    model.set_active_adapters(BatchSplit("lora", Stack("par_bn", Fuse("lora", "seq_bn")), batch_sizes=[1, 3]))
    model.active_head = BatchSplit("lora", "seq_bn", batch_sizes=[1, 3])
    batch, order = batch_for(model), list(model.adapters)
    expected, before = run(model, batch), list(model.adapters["lora"].parameters())
    model.rename_adapter("lora", "en.wiki")
    assert list(model.adapters) == ["en.wiki" if name == "lora" else name for name in order]
    renamed = Stack("par_bn", Fuse("en.wiki", "seq_bn", name="lora,seq_bn"))
    assert model.active_adapters == BatchSplit("en.wiki", renamed, batch_sizes=[1, 3])
    assert model.active_head == BatchSplit("en.wiki", "seq_bn", batch_sizes=[1, 3])
    assert model.heads["en.wiki"].name == "en.wiki" and "lora" not in model.heads
    assert all(a is b for a, b in zip(model.adapters["en.wiki"].parameters(), before, strict=True))
    for output, wanted in zip(run(model, batch), expected, strict=True):
        assert_same(output, wanted)
    with AdapterSetup("lora"), pytest.raises(UnknownName):
        run(model, batch)


def test_a_new_name_that_is_taken_is_refused():
    model = with_adapters("lora", "seq_bn")
    model.add_classification_head("lora")
    model.add_classification_head("mrpc")
    with refuses(ValueError, "already an adapter named 'seq_bn'", model=model):
        model.rename_adapter("lora", "seq_bn")
    with refuses(ValueError, "already a head named 'mrpc'", model=model):
        model.rename_adapter("lora", "mrpc")
    with refuses(UnknownName, "no adapter named 'x'", model=model):
        model.rename_adapter("x", "y")
    with refuses(ValueError, "must not be empty", model=model):
        model.rename_adapter("lora", "")


def test_a_language_models_head_is_renamed_with_its_biases():
    model = with_adapters("lora")
    model.add_masked_lm_head("lora")
    model.rename_adapter("lora", "mlm")
    assert model.active_head == "mlm" and model.heads["mlm"].tied
    run(model, batch_for(model))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_an_adapter_of_its_own(kind):
    model = with_adapters(kind)
    model.copy_adapter(kind, "twin")
    assert same_bits(tensors_of(model.adapters["twin"]), tensors_of(model.adapters[kind]))
    batch = batch_for(model)
    first = run(model, batch, adapter_names=[kind] * 4)
    assert_same(run(model, batch, adapter_names=["twin"] * 4), first)
    randomise(model.adapters["twin"])
    assert_same(run(model, batch, adapter_names=[kind] * 4), first)
    assert not torch.equal(run(model, batch, adapter_names=["twin"] * 4)[0], first[0])
    with refuses(ValueError, "already an adapter named 'twin'", model=model):
        model.copy_adapter(kind, "twin")


# ---------------------------------------------------------------------------------------------- swapped


@pytest.mark.parametrize("kind", KINDS)
def test_other_weights_take_the_place_in_the_same_tensors(kind, tmp_path):
    model = with_adapters(kind)
    model.set_active_adapters(kind)
    batch, kept = batch_for(model), list(model.adapters[kind].parameters())
    plan = model.adapters.plan(Stack(kind), model.base)
    first = run(model, batch)
    model.save_adapter(tmp_path, kind)
    state = tensors_of(model.adapters[kind])
    add_random(model, "other", CONFIGS[kind])
    expected = run(model, batch, adapter_names=["other"] * 4)
    model.hotswap_adapter(model.adapters["other"].state_dict(), kind)
    assert_same(run(model, batch), expected)
    for source in (tmp_path, state):
        model.hotswap_adapter(model.adapters["other"].state_dict(), kind)
        model.hotswap_adapter(source, kind)
        assert_same(run(model, batch), first)
    assert all(a is b for a, b in zip(model.adapters[kind].parameters(), kept, strict=True))
    assert model.adapters.plan(Stack(kind), model.base) is plan


def test_what_does_not_fit_is_not_swapped(tmp_path):
    model = with_adapters("lora", "seq_bn")
    add_random(model, "wide", "lora[r=6]")
    model.save_adapter(tmp_path / "wide", "wide")
    model.save_adapter(tmp_path / "bn", "seq_bn")
    with refuses(ValueError, "r is 6, not 4", model=model):
        model.hotswap_adapter(tmp_path / "wide", "lora")
    with refuses(ValueError, "cannot be combined", "architecture", model=model):
        model.hotswap_adapter(tmp_path / "bn", "lora")
    with refuses(FileNotFoundError, model=model):
        model.hotswap_adapter(tmp_path / "nothing", "lora")
    state = dict(model.adapters["wide"].state_dict())
    with refuses(ValueError, "has shape (6, 32), not (4, 32)", model=model):
        model.hotswap_adapter(state, "lora")
    with refuses(ValueError, "is not there", model=model):
        model.hotswap_adapter({"loras.A": torch.zeros(1)}, "lora")


@pytest.mark.slow
def test_swapping_compiles_nothing():
    torch._dynamo.reset()
    model = with_adapters("lora", "seq_bn")
    model.base.compile(fullgraph=True, dynamic=False, backend="eager")
    model.set_active_adapters(Stack("lora", "seq_bn"))
    batch = batch_for(model)
    run(model, batch)
    for kind in ("lora", "seq_bn"):
        add_random(model, f"other {kind}", CONFIGS[kind])
    with torch._dynamo.config.patch(error_on_recompile=True):
        for kind in ("lora", "seq_bn"):
            model.hotswap_adapter(model.adapters[f"other {kind}"].state_dict(), kind)
        found = run(model, batch)
    with torch.compiler.set_stance("force_eager"), AdapterSetup(Stack("other lora", "other seq_bn")):
        assert_close(found[0], run(model, batch)[0])
    torch._dynamo.reset()


# ---------------------------------------------------------------------------------------------- another dtype


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["bert", "mbart", "deberta"])
def test_an_adapter_of_doubles_acts_on_a_network_of_singles(architecture, kind):
    model = with_adapters(kind, architecture=architecture)
    model.set_active_adapters(kind)
    batch = batch_for(model)
    expected = run(model, batch)
    model.adapter_to(kind, dtype=torch.float64)
    found = run(model, batch)
    assert found[0].dtype == torch.float32
    assert_close(found[0], expected[0])
    model.adapter_to(kind, dtype=torch.float32)
    assert_same(run(model, batch), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_singles_is_trained_on_a_network_of_halves(kind):
    model = with_adapters(kind).to(torch.bfloat16)
    model.add_classification_head("head")
    model.adapter_to(kind, dtype=torch.float32)
    model.train_adapter(kind)
    batch = {**batch_for(model), "labels": torch.tensor([0, 1, 1, 0])}
    model(**batch).loss.backward()
    found = gradients(model.adapters[kind])
    assert {grad.dtype for grad in found.values()} == {torch.float32}
    assert any(grad.abs().max() > 0 for grad in found.values())
    assert all(grad.isfinite().all() for grad in found.values())


def test_adapters_of_several_dtypes_act_together_and_in_a_fusion():
    model = with_adapters("seq_bn", "par_bn", "lora", "prefix_tuning")
    model.add_adapter_fusion(Fuse("seq_bn", "par_bn"))
    setups = [Stack("lora", "seq_bn", "prefix_tuning"), Fuse("seq_bn", "par_bn"), Parallel("seq_bn", "lora")]
    batch, expected = batch_for(model), []
    for setup in setups:
        with AdapterSetup(setup):
            expected.append(run(model, batch)[0])
    model.adapter_to("seq_bn", dtype=torch.float64)
    for setup, output in zip(setups, expected, strict=True):
        with AdapterSetup(setup):
            assert_close(run(model, batch)[0], output)


def test_a_moved_model_casts_anew():
    model = with_adapters("seq_bn", "lora")
    model.set_active_adapters(Stack("seq_bn", "lora"))
    batch = batch_for(model)
    expected = run(model, batch)[0]
    model.base.double()
    assert_close(run(model, batch)[0].float(), expected)
    model.double()
    assert_close(run(model, batch)[0].float(), expected)
    model.float()
    assert run(model, batch)[0].dtype == torch.float32


def test_heads_stay_in_the_networks_dtype():
    model = with_adapters("seq_bn")
    model.add_masked_lm_head("seq_bn")
    model.set_active_adapters("seq_bn")
    model.adapter_to("seq_bn", dtype=torch.float64)
    assert model.dtype == torch.float32
    assert run(model, batch_for(model)).logits.dtype == torch.float32


# ---------------------------------------------------------------------------------------------- prefixes


@pytest.mark.parametrize("config", ["prefix_tuning", "prefix_longer", "mam", "unipelt"])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_prefixes_without_their_mlp_are_the_same(architecture, config, tmp_path):
    model = with_adapters(config, architecture=architecture)
    model.set_active_adapters(config)
    batch = batch_for(model)
    expected = run(model, batch)
    many = sum(p.numel() for p in model.adapters[config].parameters())
    model.eject_prefix_tuning(config)
    model.eject_prefix_tuning(config)
    assert "wte" not in str(list(model.adapters[config].state_dict()))
    assert_close(run(model, batch)[0], expected[0])
    model.save_adapter(tmp_path, config)
    model.load_adapter(tmp_path, load_as="again")
    assert model.adapters["again"].config == model.adapters[config].config
    assert_same(run(model, batch, adapter_names=["again"] * 4), run(model, batch, adapter_names=[config] * 4))
    assert many != sum(p.numel() for p in model.adapters[config].parameters())


def test_what_has_no_prefixes_ejects_none():
    model = with_adapters("lora", "prefix_tuning")
    with refuses(ValueError, "adapter 'lora' has no prefixes", model=model):
        model.eject_prefix_tuning("lora")
    model.train_adapter("lora")
    model.eject_prefix_tuning("prefix_tuning")
    assert not any(p.requires_grad for p in model.adapters["prefix_tuning"].parameters())
    assert model.adapters["prefix_tuning"].training


# ---------------------------------------------------------------------------------------------- frozen


def test_the_network_is_frozen_and_thawed():
    model = with_adapters("lora")
    assert not model.model_frozen
    model.freeze_model()
    assert model.model_frozen
    model.freeze_model(False)
    assert all(p.requires_grad for p in model.base.parameters())


@pytest.mark.parametrize("architecture", DISTINCT)
def test_embeddings_and_what_scores_words_are_frozen(architecture):
    model = with_adapters("lora", architecture=architecture)
    kind = next((kind for kind in model.head_types if kind.endswith("_lm")), None)
    if kind is not None:
        model.add_prediction_head_from_config("lm", {"head_type": kind})
    others = {id(p) for p in model.base.encoder.parameters()} if hasattr(model.base, "encoder") else set()
    model.freeze_embeddings()
    assert not any(model.base.token_of(stack).weight.requires_grad for stack in model.base.config.stacks())
    assert kind is None or not model.heads["lm"].decoder.weight.requires_grad
    assert all(p.requires_grad for p in model.parameters() if id(p) in others)
    model.freeze_embeddings(False)
    assert all(p.requires_grad for p in model.parameters())


def test_copies_of_models_share_no_plans():
    model = with_adapters("seq_bn")
    model.adapter_to("seq_bn", dtype=torch.float64)
    model.set_active_adapters("seq_bn")
    batch = batch_for(model)
    expected = run(model, batch)
    other = copy.deepcopy(model)
    randomise(other.adapters["seq_bn"])
    assert_same(run(model, batch), expected)
    assert not torch.equal(run(other, batch)[0], expected[0])
