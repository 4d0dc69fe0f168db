"""Law 9: layers below the lowest adapter make no graph: nothing of theirs is kept for the backward pass."""

from __future__ import annotations

import pytest

from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.batches import batch_for
from tests.helpers.heads import add_head, labels_for
from tests.helpers.tiny import DISTINCT, tiny_model


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["lora", "seq_bn", "prefix_tuning", "ia3"])
@pytest.mark.parametrize("architecture", DISTINCT)
def test_what_lies_below_the_lowest_adapter_has_no_graph(architecture, kind, checkpointing):
    model = tiny_model(architecture)
    stacks = model.base.config.stacks()
    below = sum(numbers.layers for numbers in stacks.values()) - 1  # all layers but the last stack's uppermost
    add_random(model, "mine", CONFIGS[kind].replace(leave_out=list(range(below))))
    add_head(model, "classification", "mine")
    model.train_adapter("mine")
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    found = []
    for stack in stacks:
        for layer in getattr(model.base, stack):
            layer.register_forward_hook(lambda layer, given, output: found.append(output.hidden.grad_fn is not None))
    batch = batch_for(model, decoder=False)
    loss = model(**batch, **labels_for(model, "classification", batch)).loss
    assert found == [False] * below + [True]
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.adapters["mine"].parameters())
    assert all(parameter.grad is None for parameter in model.base.parameters())
