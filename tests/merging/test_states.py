"""What a model with merged adapters does beside running: training, saving, copying, changing class, and refusing."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from adapterzoo import AutoAdapterModel, Average, BatchSplit, Parallel, Stack, UnknownName
from tests.helpers.adapting import CONFIGS, add_random, same_bits, tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close, assert_same
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, tiny_model
from tests.helpers.vocabularies import add_new


def with_adapters(architecture="bert", suffix="AdapterModel", names=("lora", "ia3", "seq_bn"), **changes):
    model = tiny_model(architecture, suffix, **changes)
    for name in names:
        add_random(model, name)
    return model


def run(model, batch):
    with torch.no_grad():
        return model(**batch)


def base_of(model):
    return {name: tensor for name, tensor in tensors_of(model).items() if name.startswith("base.")}


def test_what_is_trained_stays_trained():
    model = with_adapters()
    model.freeze_model()
    model.base.encoder[0].attn.qkv.weight.requires_grad_(True)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    kept = dict(model.named_parameters())
    for step in (lambda: model.merge_adapter(["lora", "ia3"]), model.reset_adapter):
        step()
        assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags
        assert all(parameter is kept[name] for name, parameter in model.named_parameters())
        assert {name.partition(".")[0] for name in model.state_dict()} == {"base", "adapters"}


def test_a_head_and_another_adapter_are_trained_on_top_of_what_is_merged():
    model = with_adapters()
    model.add_classification_head("seq_bn")
    model.merge_adapter("lora")
    frozen = base_of(model)
    model.train_adapter("seq_bn")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    batch = {**batch_for(model), "labels": torch.tensor([0, 1, 1, 0])}
    model(**batch).loss.backward()
    optimizer.step()
    assert same_bits(base_of(model), frozen)
    with refuses(ValueError, "adapter 'lora' is merged", "reset_adapter()", model=model):
        model.train_adapter(Stack("lora", "seq_bn"))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_merged_by_itself(copied):
    model = with_adapters()
    before = base_of(model)
    model.merge_adapter(["lora", "ia3"])
    merged, batch = base_of(model), batch_for(model)
    other = copied(model)
    assert other.merged_adapters == ("lora", "ia3")
    assert_same(run(other, batch), run(model, batch))
    other.reset_adapter()
    assert same_bits(base_of(other), before) and same_bits(base_of(model), merged)
    model.reset_adapter()
    assert same_bits(base_of(model), before)


def test_a_cast_model_goes_back_to_its_cast_weights():
    model = with_adapters()
    plain = copy.deepcopy(model).to(torch.bfloat16)
    model.merge_adapter("lora")
    model.to(torch.bfloat16).reset_adapter()
    assert same_bits(base_of(model), base_of(plain))


@pytest.mark.parametrize("architecture", DISTINCT)
def test_a_saved_model_has_its_own_weights_and_is_merged_again_when_it_is_loaded(architecture, tmp_path):
    model = with_adapters(architecture)
    model.set_active_adapters(Stack("lora", "seq_bn"))
    model.save_pretrained(tmp_path / "plain")
    model.merge_adapter(["lora", "ia3"])
    merged, batch = tensors_of(model), batch_for(model)
    model.save_pretrained(tmp_path / "merged")
    assert same_bits(tensors_of(model), merged) and model.merged_adapters == ("lora", "ia3")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "merged")]
    assert files[0] == files[1]
    again = type(model).from_pretrained(tmp_path / "merged")
    assert again.merged_adapters == ("lora", "ia3") and again.active_adapters == model.active_adapters
    assert same_bits(tensors_of(again), merged)
    assert_same(run(again, batch), run(model, batch))
    again.reset_adapter()
    model.reset_adapter()
    assert same_bits(tensors_of(again), tensors_of(model))


def test_a_model_of_another_class_is_merged_too():
    model = with_adapters()
    model.add_classification_head("seq_bn", layers=1, use_pooler=True)
    model.merge_adapter("lora")
    batch = batch_for(model)
    model.set_active_adapters(Stack("lora", "seq_bn"))
    merged = tensors_of(model)
    fixed = model.to_static()
    assert fixed.merged_adapters == ("lora",) and same_bits(tensors_of(model), merged)
    assert_close(run(fixed, batch).logits, run(model, batch).logits)
    back = fixed.to_flexible("seq_bn")
    assert back.merged_adapters == ("lora",)
    assert_close(run(back, batch).logits, run(model, batch).logits)
    for other in (fixed, back, model):
        other.reset_adapter()
    assert same_bits(base_of(back), base_of(model))


def test_weights_are_not_loaded_under_what_is_merged():
    model = with_adapters()
    state = copy.deepcopy(model.state_dict())
    model.merge_adapter("lora")
    with refuses(ValueError, "lora: merged into the weights that would be loaded; reset_adapter()", model=model):
        model.load_state_dict(state)
    own = {name: tensor for name, tensor in state.items() if name.startswith("adapters.seq_bn")}
    model.load_state_dict(own, strict=False)
    model.reset_adapter()
    model.load_state_dict(state)


def test_a_merged_adapter_does_not_go_or_change(tmp_path):
    model = with_adapters()
    model.save_adapter(tmp_path, "lora")
    model.merge_adapter("lora")
    for change in (
        lambda: model.delete_adapter("lora"),
        lambda: model.add_adapter("lora", "lora", overwrite_ok=True),
        lambda: model.load_adapter(tmp_path),
        lambda: model.hotswap_adapter(tmp_path, "lora"),
        lambda: model.copy_adapter("ia3", "lora", overwrite_ok=True),
        lambda: model.average_adapter("lora", ["lora"], overwrite_ok=True),
    ):
        with refuses(ValueError, "adapter 'lora' is merged", "reset_adapter()", model=model):
            change()
    model.copy_adapter("lora", "twin")
    model.average_adapter("mean", ["lora", "twin"])
    model.rename_adapter("lora", "mrpc")
    assert model.merged_adapters == ("mrpc",)
    model.reset_adapter()
    model.delete_adapter("mrpc")


def test_what_is_no_change_of_weights_is_refused_with_all_reasons():
    model = with_adapters(names=("lora", "seq_bn", "prefix_tuning", "lora_gated", "bitfit"))
    with refuses(UnknownName, "no adapter named 'mrpc'", model=model):
        model.merge_adapter(["lora", "mrpc"])
    with refuses(ValueError, "'seq_bn', encoder.0.mlp.join", "'prefix_tuning', encoder.0.attn.kv", model=model):
        model.merge_adapter(["lora", "seq_bn", "prefix_tuning"])
    with refuses(ValueError, "'lora_gated', encoder.0.attn.q", "a gate", model=model):
        model.merge_adapter(["bitfit", "lora_gated"])
    for block in (Average("lora", "bitfit"), BatchSplit("lora", "bitfit", batch_sizes=1), Parallel("lora", "bitfit")):
        with refuses(ValueError, "is no change of weights", "average_adapter", model=model):
            model.merge_adapter(Stack("bitfit", block))
    with refuses(ValueError, "names lora twice", model=model):
        model.merge_adapter(["lora", "lora"])
    model.merge_adapter(None)
    assert model.merged_adapters == ()


def test_numbers_that_are_none_are_refused():
    model = with_adapters()
    with torch.no_grad():
        model.adapters["lora"].units["encoder-1-attn-q"].lora_A[0, 0] = torch.inf
    with refuses(ValueError, "'lora', encoder.1.attn.q: the weights would not be finite", model=model):
        model.merge_adapter("lora")


def test_a_bias_that_is_not_there_is_not_changed():
    model = with_adapters("deberta", names=("bitfit",))
    with refuses(ValueError, "encoder.0.attn.k", "there is no bias, which it would change", model=model):
        model.merge_adapter("bitfit")
    add_random(model, "others", "bitfit[sites=['*.q', '*.v', '*.out', 'mlp.*', '*norm']]")
    batch = batch_for(model)
    model.set_active_adapters("others")
    expected = run(model, batch)
    model.merge_adapter("others")
    assert_close(run(model, batch)[0], expected[0])


def test_a_weight_of_two_places_is_not_changed_for_one():
    model = with_adapters("encoder-decoder", names=("lora",), tie_encoder_decoder=True)
    with refuses(ValueError, "encoder.0.attn.q", "its weight is that of decoder.0.attn.q, too", model=model):
        model.merge_adapter("lora")
    add_random(model, "cross", "lora[sites='cross.*']")
    model.merge_adapter("cross")
    model.reset_adapter()


def test_words_that_are_looked_up_and_scored_are_not_changed():
    model = with_adapters(names=())
    add_random(model, "words", "lora[sites='token', r=2]")
    batch = batch_for(model)
    model.set_active_adapters("words")
    expected = run(model, batch)
    model.merge_adapter("words")
    assert_close(run(model, batch)[0], expected[0])
    model.reset_adapter()
    model.add_masked_lm_head("lm")
    with refuses(ValueError, "its weight is the vocabulary's in the head 'lm', too", model=model):
        model.merge_adapter("words")


def test_an_embedding_into_which_an_adapter_is_merged_stays_in_use():
    model = with_adapters(names=("lora",))
    add_random(model, "words", "lora[sites='token', r=2]")
    add_new(model, "more")
    model.set_active_embeddings("default")
    model.merge_adapter(["lora", "words"])
    with refuses(ValueError, "adapter 'words' is merged into the token embedding", model=model):
        model.set_active_embeddings("more")
    model.reset_adapter()
    model.merge_adapter("lora")
    model.set_active_embeddings("more")
    model.reset_adapter()


def test_a_merged_adapter_has_no_part_in_plans_and_known_setups_stay_compiled():
    model = with_adapters()
    setup = Stack("lora", "seq_bn")
    model.set_active_adapters(setup)
    first = model.adapters.plan(setup, model.base)
    model.merge_adapter("lora")
    second = model.adapters.plan(setup, model.base)
    assert "attn.q" in first.tables["encoder", 0] and "attn.q" not in second.tables["encoder", 0]
    model.reset_adapter()
    assert model.adapters.plan(setup, model.base) is first
    model.merge_adapter("lora")
    assert model.adapters.plan(setup, model.base) is second


def test_the_summary_tells_what_is_merged():
    model = with_adapters()
    assert "merged" not in model.adapter_summary()
    model.merge_adapter("ia3")
    rows = {row["name"]: row.get("merged") for row in model.adapter_summary(as_dict=True)}
    assert rows == {"lora": False, "ia3": True, "seq_bn": False, "Full model": None}
    assert "merged" in model.adapter_summary().splitlines()[0]


def test_a_saved_model_is_read_by_the_auto_classes(tmp_path):
    model = with_adapters()
    add_random(model, "twin", CONFIGS["lora"])
    model.merge_adapter("twin")
    model.save_pretrained(tmp_path)
    assert AutoAdapterModel.from_pretrained(tmp_path).merged_adapters == ("twin",)
