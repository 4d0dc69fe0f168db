"""Law 10: attention by hand, by the fused kernel, over packed and over padded batches is one and the same."""

from __future__ import annotations

import itertools

import pytest
import torch

from adapterzoo import Stack
from tests.helpers.adapting import KINDS, add_all, add_random
from tests.helpers.batches import batch_for, padded, padding_mask, random_ids, unmasked
from tests.helpers.comparing import assert_close, assert_gradients, gradients
from tests.helpers.heads import add_head, head_types, labels_for, model_for, shaped
from tests.helpers.tiny import DISTINCT, decoders, tiny_decoder, tiny_model

MODELS = {
    **dict.fromkeys(DISTINCT, tiny_model),
    **{kind: tiny_decoder for kind in decoders(DISTINCT) if kind not in DISTINCT},
}
HEADS = [(name, kind) for name in DISTINCT for kind in head_types(tiny_model(name))]
WAYS = list(itertools.product([True, False], [True, False]))  # packed or padded, by hand or by kernel


def in_every_way(model, batch, **call):
    """The output in every way that there is to compute it."""
    outputs = []
    for model.padding_free, by_hand in WAYS:
        outputs.append(model(**batch, **call, output_attentions=by_hand))
    return outputs


def hidden_states(model, batch, output):
    """The last hidden states of every stack, at positions that are no padding."""
    found = [output.last_hidden_state[unmasked(model, batch, model.base.config.last_stack)]]
    if "encoder_last_hidden_state" in output:
        found.append(output.encoder_last_hidden_state[unmasked(model, batch, "encoder")])
    return torch.cat(found)


@pytest.mark.parametrize("setup", [None, *KINDS, Stack("prefix_longer", "lora_all", "double_seq_bn")], ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_every_method_in_every_way(kind, setup):
    model = MODELS[kind](kind)
    for name in ["prefix_longer", "lora_all", "double_seq_bn"] if isinstance(setup, Stack) else [setup]:
        if name is not None:
            add_random(model, name)
    model.set_active_adapters(setup)
    for decoder in (True, False):
        batch = batch_for(model, decoder=decoder)
        with torch.no_grad():
            first, *others = (hidden_states(model, batch, out) for out in in_every_way(model, batch))
        for other in others:
            assert_close(other, first)


@pytest.mark.parametrize("kind", MODELS)
def test_rows_with_different_methods_in_every_way(kind):
    model = add_all(MODELS[kind](kind))
    names = [None, *KINDS]
    batch = batch_for(model, rows=len(names))
    with torch.no_grad():
        outputs = in_every_way(model, batch, adapter_names=names)
    first, *others = (hidden_states(model, batch, output) for output in outputs)
    for other in others:
        assert_close(other, first)


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_losses_logits_and_gradients_of_every_head_in_every_way(architecture, kind):
    model = model_for(kind, architecture).double()
    add_random(model, "prefix_tuning")
    add_head(model, kind, "head")
    model.double().train_adapter("prefix_tuning")
    batch = batch_for(model, rows=6, decoder=False)
    real = batch["attention_mask"].bool()
    batch = shaped(kind, batch)
    losses, answers, slopes = [], [], []
    for output in in_every_way(model, {**batch, **labels_for(model, kind, batch)}):
        output.loss.backward()
        losses.append(output.loss)
        slopes.append(gradients(model))
        logits = [output[key] for key in output.keys() if "logits" in key]  # noqa: SIM118 - an output is no dict
        answers.append([each[real] if each.shape[:2] == real.shape else each for each in logits])
    for loss, answer, slope in zip(losses[1:], answers[1:], slopes[1:], strict=True):
        assert_close(loss, losses[0], "loss")
        assert_gradients(slope, slopes[0])
        for own, other in zip(answer, answers[0], strict=True):
            assert_close(own, other, "logits")


@pytest.mark.parametrize("kind", MODELS)
def test_masks_that_cannot_be_packed_in_both_ways(kind):
    model = add_all(MODELS[kind](kind)).double()
    model.set_active_adapters(Stack("prefix_longer", "lora_gated"))
    batch = {k: t.double() if t.is_floating_point() else t for k, t in batch_for(model).items()}
    left = batch["attention_mask"].flip(1)
    ids = padded(model, random_ids(model, *left.shape), torch.ones_like(left)).masked_fill(
        left == 0, model.config.pad_token_id
    )
    pairs = torch.ones(*left.shape, left.size(1)).tril().long()
    for mask in (left, pairs):
        own = {**batch, "input_ids": ids, "attention_mask": mask}
        real = mask.bool() if mask.dim() == 2 else torch.ones_like(left).bool()
        outputs = in_every_way(model, own)
        found = [o.get("encoder_last_hidden_state", o.last_hidden_state)[real] for o in outputs]
        assert bool(found[0].isfinite().all())
        for other in found[1:]:
            assert_close(other, found[0])


@pytest.mark.parametrize("kind", MODELS)
def test_padding_changes_nothing_and_no_padding_needs_no_mask(kind):
    model = add_all(MODELS[kind](kind)).double()
    model.set_active_adapters(Stack("lora_gated", "prefix_tuning", "bn_everywhere"))
    batch = batch_for(model, lengths=[6] * 4, length=6, decoder=False)
    batch = {k: t.double() if t.is_floating_point() else t for k, t in batch.items()}
    bare = {name: tensor for name, tensor in batch.items() if name != "attention_mask"}
    wider = {**batch, "attention_mask": padding_mask([6] * 4, 9)}
    for name in ("input_ids", "token_type_ids"):
        if name in batch:
            wider[name] = torch.nn.functional.pad(batch[name], (0, 3), value=model.config.pad_token_id)
    for model.padding_free in (True, False):
        expected = model(**batch).last_hidden_state
        assert_close(model(**bare).last_hidden_state, expected)
        assert_close(model(**wider).last_hidden_state[:, :6], expected)
