"""Invertible adapters: the inverse takes back what they do, just before words are scored, for each row its own."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import AdapterSetup, Average, BatchSplit, Parallel, SeqBnInvConfig, Stack
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import add_random
from tests.helpers.alone import Alone, by_name
from tests.helpers.batches import batch_for, unmasked
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, class_ids, fixed_heads, tiny_decoder, tiny_model

KINDS = ("nice", "glow")
LM_TYPES = ("masked_lm", "causal_lm", "seq2seq_lm")
LM_HEADS = [(name, kind) for name in DISTINCT for kind in LM_TYPES if kind in ARCHITECTURES[name].heads]
FIXED = [(name, static) for name, static in fixed_heads(*LM_TYPES, "pretraining") if name in DISTINCT]


def config(kind, **changes):
    return SeqBnInvConfig(inv_adapter=kind, reduction_factor=8, non_linearity="tanh", **changes)


def unit_of(model, name):
    return next(unit for slug, unit in model.adapters[name].units.items() if slug.endswith("-embed"))


def with_adapters(model, kind="nice"):
    """A model with two random invertible adapters, "a" and "b"."""
    for name in "ab":
        add_random(model, name, config(kind))
    return model


def add_lm(model, kind):
    """Give a model a head that scores words from vectors as wide as its embeddings."""
    getattr(model, f"add_{kind}_head")("words", layers=2)
    return model.heads["words"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_the_inverse_takes_back_what_it_did_and_nothing_can_be_merged(architecture, kind):
    torch.manual_seed(0)
    model = with_adapters(tiny_model(architecture), kind)
    unit = unit_of(model, "a")
    assert not hasattr(unit, "merged")
    seen = []
    handle = unit.register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output)))
    model.set_active_adapters("a")
    with torch.no_grad():
        model(**batch_for(model))
        handle.remove()
        ((embedded, ctx, mapped),) = seen
        assert (mapped - embedded).abs().max() > 0.1
        assert_close(unit.inverse(mapped, ctx), embedded)
        assert_close(unit(unit.inverse(embedded, ctx), ctx), embedded)


@pytest.mark.parametrize("architecture", DISTINCT)
def test_it_is_on_the_first_stacks_embeddings_alone_and_stays_whatever_layers_are_left_out(architecture):
    model = tiny_model(architecture)
    every = list(range(model.base.config.layers))
    model.add_adapter("a", config("nice", leave_out=every))
    (slug,) = model.adapters["a"].units
    assert slug == f"{next(iter(model.base.config.stacks()))}-embed"
    batch = batch_for(model)
    with torch.no_grad():
        bare = model(**batch).last_hidden_state
        model.set_active_adapters("a", skip_layers=every)
        assert not torch.equal(model(**batch).last_hidden_state, bare)


@pytest.mark.parametrize(("architecture", "kind"), LM_HEADS)
def test_words_are_scored_behind_the_inverses_in_reverse_order(architecture, kind):
    torch.manual_seed(0)
    model = with_adapters(tiny_model(architecture))
    head, batch, given = add_lm(model, kind), batch_for(model), []
    head.stack()[0].register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    with torch.no_grad(), AdapterSetup(Stack("a", "b")):
        logits = model(**batch).logits
        (hidden,) = given
        for layer in head.stack()[:-1]:
            hidden = layer(hidden)
        for name in "ba":
            hidden = unit_of(model, name).inverse(hidden, None)
        wanted = head.decoder(hidden)
    bias = getattr(head, "final_logits_bias", None)
    wanted = wanted if bias is None else wanted + bias[0]
    real = unmasked(model, batch, model.base.config.last_stack)
    assert_close(logits[real], wanted if wanted.dim() == 2 else wanted[real])


@pytest.mark.parametrize(("architecture", "kind"), LM_HEADS)
def test_each_row_has_its_own_inverse(architecture, kind):
    torch.manual_seed(0)
    model = with_adapters(tiny_model(architecture))
    add_lm(model, kind)
    add_random(model, "plain", "lora")
    alone = Alone(model, batch_for(model))
    split = BatchSplit("a", "b", Stack("a", "b"), "plain", batch_sizes=[1, 1, 1, 1])
    alone.check(alone.run(split), [("a",), ("b",), ("a", "b"), ("plain",)])
    mixed = ["b", None, "a", "plain"]
    with torch.no_grad():
        alone.check(model(**alone.batch, adapter_names=mixed), by_name(mixed))
    assert (alone.output(("a",), 0).logits - alone.output(("b",), 0).logits).abs().max() > 0.01


@pytest.mark.parametrize("architecture", [name for name, kind in LM_HEADS if kind != "causal_lm"])
def test_each_copy_of_a_batch_has_its_own_inverse(architecture):
    torch.manual_seed(0)
    model = with_adapters(tiny_model(architecture))
    add_lm(model, next(kind for name, kind in LM_HEADS if name == architecture))
    batch = batch_for(model)
    with torch.no_grad(), AdapterSetup(Parallel("a", "b"), head_setup="words"):
        both = model(**batch).logits
    for number, name in enumerate("ab"):
        with torch.no_grad(), AdapterSetup(name):
            assert_close(both.chunk(2)[number], model(**batch).logits)


@pytest.mark.parametrize(("architecture", "static"), FIXED, ids=class_ids(FIXED))
def test_fixed_heads_score_behind_the_inverse_too(architecture, static):
    torch.manual_seed(0)
    model = with_adapters(tiny_model(architecture, static))
    if model.base.config.last.token_width != unit_of(model, "a").width:
        pytest.skip("its words are scored by another matrix than the embeddings'")
    batch, asked = batch_for(model), []
    unit = unit_of(model, "a")
    original = unit.back
    unit.back = lambda first, second: asked.append(first) or original(first, second)
    model.set_active_adapters("a")
    with torch.no_grad():
        model(**batch)
    assert len(asked) == 1


@pytest.mark.parametrize("kind", ["bert-decoder", "bart"])
def test_what_is_generated_is_what_the_whole_text_scores_highest(kind):
    torch.manual_seed(0)
    model = with_adapters(tiny_model("bart") if kind == "bart" else tiny_decoder(kind))
    add_lm(model, "seq2seq_lm" if kind == "bart" else "causal_lm")
    ids = batch_for(model, decoder=False, lengths=[6, 6, 6, 6], length=6)["input_ids"]
    setup = BatchSplit("a", "b", batch_sizes=[2, 2])
    with AdapterSetup(setup), torch.no_grad():
        texts = model.generate(ids, max_new_tokens=4, num_beams=1, do_sample=False, eos_token_id=None)
        if kind == "bart":
            logits = model(input_ids=ids, decoder_input_ids=texts[:, :-1]).logits[:, -4:]
        else:
            logits = model(input_ids=texts[:, :-1]).logits[:, -4:]
    assert torch.equal(logits.argmax(-1)[:, :-1], texts[:, -4:-1])  # BART's last token is the end's, whatever it scores


def test_words_that_are_scored_from_vectors_of_another_width_are_not_mapped():
    model = with_adapters(tiny_model("electra"))
    model.add_masked_lm_head("words", layers=1)
    unit, batch = unit_of(model, "a"), batch_for(model)
    assert model.heads["words"].decoder.in_features != unit.width
    value = torch.randn(2, 3, model.heads["words"].decoder.in_features)
    assert unit.inverse(value, None) is value
    model.set_active_adapters("a")
    assert torch.isfinite(model(**batch).logits).all()


def test_an_average_has_no_inverse():
    model = with_adapters(tiny_model("bert"))
    with refuses(ValueError, "invertible", model=model):
        model.set_active_adapters(Average("a", "b"))
