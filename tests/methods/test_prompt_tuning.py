"""Prompt tuning: where the prompt lies, who sees it, what outputs keep, and how it begins."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import Parallel, PromptTuningConfig, Stack
from tests.helpers.adapting import add_random
from tests.helpers.alone import Alone, by_name
from tests.helpers.batches import batch_for, padding_mask, unmasked
from tests.helpers.comparing import assert_close
from tests.helpers.refusing import refuses
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

LENGTHS = [8, 3, 5, 1]
COMBINE = ["prefix", "prefix_after_bos"]
LONE = [name for name in DISTINCT if len(tiny_model(name).base.config.stacks()) == 1]
SEEING = [name for name in LONE if not tiny_model(name).base.convolution]  # not their neighbours, whatever masks say
each_way = pytest.mark.parametrize("combine", COMBINE)


def prompted(model, combine="prefix", name="a", length=3):
    add_random(model.eval(), name, PromptTuningConfig(prompt_length=length, combine=combine))
    model.set_active_adapters(name)
    return model


def run(model, batch, **call):
    with torch.no_grad():
        return model(**batch, **call)


@each_way
@pytest.mark.parametrize("architecture", LONE)
def test_it_is_as_if_the_prompt_were_given_as_embeddings_without_positions(architecture, combine):
    """The prompt's vectors after the embeddings: the same as layers run by hand on the longer rows."""
    torch.manual_seed(0)
    model = prompted(tiny_model(architecture), combine)
    batch = batch_for(model, lengths=[8, 8, 8, 8])
    found = run(model, batch).last_hidden_state
    model.set_active_adapters(None)
    first = model.adapters["a"].units["encoder-input"].prompt_embedding.weight
    kept = []
    embedding = model.base.embed["encoder"]
    hook = embedding.register_forward_hook(lambda module, given, out: kept.append(out))
    run(model, batch)
    hook.remove()
    at = int(combine == "prefix_after_bos")
    whole = torch.cat([kept[0][:, :at], first.expand(4, -1, -1), kept[0][:, at:]], 1)
    hook = embedding.register_forward_hook(lambda module, given, out: whole)
    longer = {"input_ids": torch.full((4, 11), 5)}
    expected = run(model, longer).last_hidden_state
    hook.remove()
    assert_close(found, torch.cat([expected[:, :at], expected[:, at + 3 :]], 1))


@each_way
@pytest.mark.parametrize("kind", {**dict.fromkeys(DISTINCT), **decoders(DISTINCT)})
def test_outputs_have_the_callers_tokens_and_attentions_the_prompts_too(kind, combine):
    model = prompted(tiny_model(kind) if kind in DISTINCT else tiny_decoder(kind), combine)
    batch = batch_for(model, lengths=LENGTHS)
    output = run(model, batch, output_hidden_states=True, output_attentions=True)
    lone = len(model.base.config.stacks()) == 1
    states = output.hidden_states if lone else output.encoder_hidden_states
    last = output.last_hidden_state if lone else output.encoder_last_hidden_state
    assert {state.shape[:2] for state in states} == {last.shape[:2]} == {(4, 8)}
    assert not last[~batch["attention_mask"].bool()].any()
    attentions = output.attentions if lone else output.encoder_attentions
    assert {weights.shape[2:] for weights in attentions} == {(11, 11)}
    if not lone:
        assert {weights.shape[2:] for weights in output.cross_attentions} == {(7, 11)}


@each_way
@pytest.mark.parametrize("architecture", SEEING)
def test_a_mask_of_who_looks_at_whom_says_what_a_mask_of_padding_says(architecture, combine):
    model = prompted(tiny_model(architecture), combine)
    batch = batch_for(model, lengths=LENGTHS)
    mask = batch["attention_mask"]
    expected = run(model, batch).last_hidden_state[mask.bool()]
    for pairs in (mask[:, None].expand(-1, 8, -1), mask[:, None] * mask[:, :, None]):
        assert_close(run(model, {**batch, "attention_mask": pairs}).last_hidden_state[mask.bool()], expected)


@each_way
@pytest.mark.parametrize("architecture", SEEING)
def test_nothing_becomes_known_through_a_prompt_that_a_mask_hides(architecture, combine):
    torch.manual_seed(0)
    model = prompted(tiny_model(architecture), combine)
    ids = torch.randint(5, 60, (2, 8))
    changed = torch.cat([ids[:, :4], torch.randint(5, 60, (2, 4))], 1)
    blocks = torch.block_diag(torch.ones(4, 4), torch.ones(4, 4)).long()
    for pairs in (torch.ones(8, 8).tril().long(), blocks):
        mask = pairs.expand(2, -1, -1)
        first, second = (
            run(model, {"input_ids": given, "attention_mask": mask}).last_hidden_state for given in (ids, changed)
        )
        assert_close(first[:, :4], second[:, :4])
        assert not torch.equal(first[:, 4:], second[:, 4:])


@each_way
@pytest.mark.parametrize("architecture", LONE)
def test_padding_on_the_left_is_as_padding_on_the_right(architecture, combine):
    model = prompted(tiny_model(architecture), combine)
    lengths = [8, 3, 5, 2]
    mask = padding_mask(lengths, 8)
    ids = torch.randint(5, 60, (4, 8)).masked_fill(mask == 0, model.config.pad_token_id)
    right = {"input_ids": ids, "attention_mask": mask, "position_ids": torch.arange(8).expand(4, -1)}
    left = {
        name: torch.stack([row.roll(8 - n) for row, n in zip(t, lengths, strict=True)]) for name, t in right.items()
    }
    first, second = run(model, right).last_hidden_state, run(model, left).last_hidden_state
    assert_close(second[left["attention_mask"].bool()], first[mask.bool()])


@pytest.mark.parametrize("architecture", DISTINCT)
def test_prompts_of_a_stack_are_put_in_front_one_after_the_other(architecture):
    model = prompted(tiny_model(architecture))
    prompted(model, name="b", length=2)
    prompted(model, name="both", length=5)
    slug = next(iter(model.adapters["a"].units))
    rows = [model.adapters[name].units[slug].prompt_embedding.weight.detach() for name in "ba"]
    model.adapters["both"].units[slug].prompt_embedding.weight.data.copy_(torch.cat(rows))
    batch = batch_for(model, lengths=LENGTHS)
    expected = run(model, batch).last_hidden_state
    model.set_active_adapters(Stack("a", "b"))
    assert_close(run(model, batch).last_hidden_state, expected)


@pytest.mark.parametrize("architecture", LONE)
def test_a_row_may_be_as_long_as_the_model_has_positions(architecture):
    model = prompted(tiny_model(architecture))
    room = model.base.config.first.room or 30
    output = run(model, batch_for(model, rows=2, length=room))
    assert output.last_hidden_state.shape[:2] == (2, room)
    assert output.last_hidden_state.isfinite().all()


@pytest.mark.parametrize("architecture", [name for name in DISTINCT if name not in LONE])
def test_a_decoder_looks_at_the_prompt(architecture):
    model = prompted(tiny_model(architecture))
    batch = batch_for(model)
    weights = run(model, batch, output_attentions=True).cross_attentions[0]
    assert (weights[..., :3] > 0).all()
    assert not model.adapters["a"].reads_rows("decoder")
    assert run(model, batch, use_cache=True).past_key_values.length == 7


@pytest.mark.parametrize("kind", [kind for kind in decoders(DISTINCT) if kind not in DISTINCT])
def test_a_lone_decoder_keeps_no_keys_and_values(kind):
    model = prompted(tiny_decoder(kind))
    batch = batch_for(model, lengths=[8, 8, 8, 8])
    with refuses(ValueError, "keys and values cannot be kept: a", "use_cache=False", model=model):
        model(**batch, use_cache=True)


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_rows_with_prompts_of_different_lengths_lie_in_one_batch(architecture, padding_free):
    model = prompted(prompted(tiny_model(architecture)), "prefix_after_bos", "b", 5)
    model.padding_free = padding_free
    batch = batch_for(model, lengths=LENGTHS)
    model.set_active_adapters(Parallel("a", "b", Stack()))
    found = run(model, batch).last_hidden_state
    where = unmasked(model, batch, model.base.config.last_stack)
    for part, name in zip(found.chunk(3), ("a", "b", None), strict=True):
        model.set_active_adapters(name)
        assert_close(part[where], run(model, batch).last_hidden_state[where], str(name))


@pytest.mark.parametrize("architecture", DISTINCT)
def test_hidden_states_and_attentions_of_rows_with_and_without_prompts_are_those_of_the_rows_alone(architecture):
    model = prompted(prompted(tiny_model(architecture)), "prefix_after_bos", "b", 5)
    names = ["b", None, "a", "b"]
    rows = Alone(model, batch_for(model), output_hidden_states=True, output_attentions=True)
    rows.check(run(model, rows.batch, **rows.call, adapter_names=names), by_name(names))
