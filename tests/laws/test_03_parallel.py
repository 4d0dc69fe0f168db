"""Law 3 for Parallel: each child answers the whole batch as it would alone; heads, labels and generation included."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import BatchSplit, Parallel, Stack
from tests.helpers.adapting import KINDS, add_all, add_random
from tests.helpers.batches import batch_for, unmasked
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import DISTINCT, tiny_model

FIRST, SECOND, THIRD = KINDS[0], "lora", "prefix_tuning"


def last(model, batch, setup):
    model.set_active_adapters(setup)
    with torch.no_grad():
        return model(**batch).last_hidden_state


@pytest.fixture(scope="module", params=DISTINCT)
def model(request):
    torch.manual_seed(0)
    return add_all(tiny_model(request.param, "Model")).double()


@pytest.mark.parametrize("padding_free", [True, False], ids=["packed", "padded"])
def test_each_child_answers_the_batch_as_alone(model, padding_free):
    batch = batch_for(model)
    model.padding_free = padding_free
    seen = unmasked(model, batch, model.base.config.last_stack)
    together = last(model, batch, Parallel(*KINDS)).chunk(len(KINDS))
    for kind, part in zip(KINDS, together, strict=True):
        assert_close(part[seen], last(model, batch, kind)[seen], kind)


@pytest.mark.parametrize(
    ("setup", "alone"),
    [
        (Stack(FIRST, Parallel(SECOND, THIRD)), [Stack(FIRST, SECOND), Stack(FIRST, THIRD)]),
        (Parallel(Stack(FIRST, SECOND), THIRD), [Stack(FIRST, SECOND), THIRD]),
        (Parallel(FIRST, Parallel(SECOND, THIRD)), [FIRST, SECOND, THIRD]),
        (Stack(Parallel(FIRST, SECOND), Parallel(SECOND, THIRD)), [Stack(FIRST, SECOND), Stack(SECOND, THIRD)]),
        (Stack(Parallel(FIRST, SECOND), THIRD), [Stack(FIRST, THIRD), Stack(SECOND, THIRD)]),
        (
            Parallel(BatchSplit(FIRST, SECOND, batch_sizes=[1, 3]), THIRD),
            [BatchSplit(FIRST, SECOND, batch_sizes=[1, 3]), THIRD],
        ),
        (Parallel(FIRST), [FIRST]),
    ],
    ids=str,
)
def test_it_may_lie_in_other_blocks_and_they_in_it(model, setup, alone):
    batch = batch_for(model)
    model.padding_free = True
    seen = unmasked(model, batch, model.base.config.last_stack)
    together = last(model, batch, setup).chunk(len(alone))
    for child, part in zip(alone, together, strict=True):
        assert_close(part[seen], last(model, batch, child)[seen], str(child))


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        (BatchSplit(Parallel("a", "b"), "a", batch_sizes=2), "holds a Parallel block"),
        (Stack(Parallel("a", "b"), Parallel("a", "b", "a")), "stacks Parallel blocks of 2 and 3 children"),
        (Parallel(), "needs at least one child"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused_when_it_is_set(setup, said):
    model = tiny_model(DISTINCT[0], "Model")
    for name in ("a", "b"):
        add_random(model, name, "seq_bn")
    model.set_active_adapters("a")
    with pytest.raises(ValueError, match=said):
        model.set_active_adapters(setup)
    assert model.active_adapters == Stack("a")


@pytest.fixture(scope="module", params=[name for name in DISTINCT if "classification" in tiny_model(name).head_types])
def headed(request):
    torch.manual_seed(0)
    model = tiny_model(request.param)
    for name, labels in [("a", 2), ("b", 3)]:
        add_random(model, name, "seq_bn" if name == "a" else "lora")
        model.add_classification_head(name, num_labels=labels)
    return model


def test_each_child_has_its_head_and_its_labels(headed):
    batch = batch_for(headed, decoder=False)
    first, second = torch.randint(2, (4,)), torch.randint(3, (4,))
    headed.set_active_adapters(Parallel("a", "b"))
    assert headed.active_head == Parallel("a", "b")
    together = headed(**batch, labels={"a": first, "b": second})
    assert [output.logits.shape for output in together] == [(4, 2), (4, 3)]
    loss = 0
    for name, labels, output in zip(("a", "b"), (first, second), together, strict=True):
        headed.set_active_adapters(name)
        alone = headed(**batch, labels=labels)
        torch.testing.assert_close(output.logits, alone.logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(output.loss, alone.loss, rtol=1e-5, atol=1e-5)
        loss = loss + alone.loss
    torch.testing.assert_close(together.loss, loss)


def test_one_head_answers_for_all_children(headed):
    batch = batch_for(headed, decoder=False)
    labels = torch.randint(3, (4,))
    headed.set_active_adapters(Parallel("a", "b"))
    together = headed(**batch, labels=labels, head="b")
    parts = []
    for name in ("a", "b"):
        headed.set_active_adapters(name)
        parts.append(headed(**batch, labels=labels, head="b"))
    torch.testing.assert_close(together.logits, torch.cat([part.logits for part in parts]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.loss, (parts[0].loss + parts[1].loss) / 2)


def test_gradients_of_each_child_are_those_it_has_alone(headed):
    headed = headed.double()
    batch = batch_for(headed, decoder=False)
    labels = {"a": torch.randint(2, (4,)), "b": torch.randint(3, (4,))}
    found = []
    for setups in [[Parallel("a", "b")], ["a", "b"]]:
        headed.zero_grad()
        for setup in setups:
            headed.set_active_adapters(setup)
            headed(**batch, labels=labels if len(setups) == 1 else labels[setup]).loss.backward()
        found.append({name: p.grad.clone() for name, p in headed.adapters.named_parameters() if p.grad is not None})
    headed.float()
    assert found[0].keys() == found[1].keys() and found[0]
    for name, grad in found[1].items():
        torch.testing.assert_close(found[0][name], grad, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", [name for name in DISTINCT if "seq2seq_lm" in tiny_model(name).head_types])
def test_each_child_generates_as_alone(name, beams):
    model = tiny_model(name)
    for adapter, config in [("a", "lora"), ("b", "prefix_tuning"), ("c", "seq_bn")]:
        add_random(model, adapter, config)
        model.add_seq2seq_lm_head(adapter)
        model.heads[adapter].final_logits_bias.normal_()
    batch = batch_for(model, decoder=False)
    options = {"num_beams": beams, "max_new_tokens": 6, "decoder_start_token_id": 3, "pad_token_id": 1}
    model.set_active_adapters(Parallel("a", Stack("b", "c")))
    together = model.generate(**batch, **options).chunk(2)
    for setup, part in zip(("a", Stack("b", "c")), together, strict=True):
        model.set_active_adapters(setup)
        alone = model.generate(**batch, **options)
        width = max(alone.size(1), part.size(1))
        same = [torch.nn.functional.pad(ids, (0, width - ids.size(1)), value=1) for ids in (alone, part)]
        assert torch.equal(*same)
