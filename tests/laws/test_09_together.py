"""Beside law 9: several adapters with heads of their own are trained in one pass, each as it would be by itself.

A head's loss is the mean over its own rows, and the losses of heads are added up: the sum's gradients are, for each
adapter and head, those of a run of its own.
"""

from __future__ import annotations

import pytest
import torch

from adapterzoo import MultiTask, Parallel
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.batches import batch_for, rows_of
from tests.helpers.comparing import assert_close, assert_gradients, gradients
from tests.helpers.heads import add_head, head_types, labels_for, model_for, shaped
from tests.helpers.tiny import DISTINCT, tiny_model

KINDS = {"a": "seq_bn", "b": "lora", "c": "prefix_tuning"}
HEADS = [(name, kind) for name in DISTINCT for kind in head_types(tiny_model(name))]
STEPS = 3


def make(architecture, kind):
    """A model in training, and a batch with labels for each head."""
    torch.manual_seed(0)
    model = model_for(kind, architecture)
    for name, method in KINDS.items():
        add_random(model, name, CONFIGS[method])
        add_head(model, kind, name)
    batch = shaped(kind, batch_for(model, rows=12, decoder=False))
    labels = {name: labels_for(model, kind, batch) for name in KINDS}
    return model.double(), batch, labels


def by_head(labels):
    """{head: {argument: …}} as {argument: {head: …}}."""
    return {key: {name: own[key] for name, own in labels.items()} for key in next(iter(labels.values()))}


def seq2seq(model, kind, batch):
    """The decoder's input where labels are such, for those of one head are not what another's should read."""
    if kind != "seq2seq_lm":
        return batch
    return {**batch, "decoder_input_ids": batch["input_ids"]}


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_parallel_gives_each_adapter_and_head_the_gradients_it_has_alone(architecture, kind):
    model, batch, labels = make(architecture, kind)
    batch = seq2seq(model, kind, batch)
    model.train_adapter(Parallel(*KINDS))
    together = model(**batch, **by_head(labels))
    together.loss.backward()
    found, losses = gradients(model), []
    for name in KINDS:
        model.set_active_adapters(name)
        losses.append(model(**batch, **labels[name]).loss)
        losses[-1].backward()
    assert_close(together.loss, sum(losses))
    assert_gradients(found, gradients(model))


@pytest.mark.parametrize(
    ("architecture", "kind"), [case for case in HEADS if case[1] not in ("similarity", "seq2seq_lm")]
)
def test_multitask_gives_each_adapter_and_head_the_gradients_it_has_for_its_rows(architecture, kind):
    model, batch, labels = make(architecture, kind)
    count = len(next(iter(batch.values())))
    tasks = [row * 2 % 3 for row in range(count)]
    model.train_adapter(MultiTask(*KINDS))
    together = model(**batch, **by_head(labels), task_ids=tasks)
    together.loss.backward()
    found, losses = gradients(model), []
    for number, name in enumerate(KINDS):
        rows = [row for row, task in enumerate(tasks) if task == number]
        model.set_active_adapters(name)
        losses.append(model(**rows_of(batch, rows), **rows_of(labels[name], rows)).loss)
        losses[-1].backward()
    assert_close(together.loss, sum(losses))
    assert_gradients(found, gradients(model))


@pytest.mark.parametrize("block", ["Parallel", "MultiTask"])
@pytest.mark.parametrize("architecture", [name for name, kind in HEADS if kind == "classification"])
def test_steps_of_an_optimizer_leave_what_they_leave_alone(architecture, block):
    trained = {}
    for together in (True, False):
        model, batch, labels = make(architecture, "classification")
        tasks = [row % 3 for row in range(12)]
        rows = {name: [row for row in range(12) if block == "Parallel" or row % 3 == n] for n, name in enumerate(KINDS)}
        setup = Parallel(*KINDS) if block == "Parallel" else MultiTask(*KINDS)
        model.train_adapter(setup)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            if together:
                call = {} if block == "Parallel" else {"task_ids": tasks}
                model(**batch, **by_head(labels), **call).loss.backward()
            else:
                for name in KINDS:
                    model.set_active_adapters(name)
                    model(**rows_of(batch, rows[name]), **rows_of(labels[name], rows[name])).loss.backward()
            optimizer.step()
        trained[together] = model.state_dict()
    for name, tensor in trained[False].items():
        assert_close(trained[True][name], tensor, name)
