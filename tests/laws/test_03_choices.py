"""Law 3 for questions with choices: a BatchSplit counts questions, and each is answered as it would be alone."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import BatchSplit
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import add_all
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import NAMES, tiny_model

WITH_CHOICES = [name for name in NAMES if "multiple_choice" in ARCHITECTURES[name].heads]


@pytest.mark.parametrize("architecture", WITH_CHOICES)
@pytest.mark.parametrize("pair", [("lora_all", "prefix_longer"), ("bn_everywhere", "lora_all")])
def test_questions_of_a_batch_split_do_not_meet(architecture: str, pair: tuple[str, str]) -> None:
    model = add_all(tiny_model(architecture)).eval()
    model.add_multiple_choice_head("pick")
    rows = batch_for(model, rows=6)
    batch = {name: tensor.unflatten(0, (3, 2)) for name, tensor in rows.items()}
    model.set_active_adapters(BatchSplit(*pair, batch_sizes=[1, 2]))
    whole = model(**batch, head="pick", labels=torch.tensor([0, 1, 0]))
    assert whole.logits.shape == (3, 2)
    for question, name in enumerate((pair[0], pair[1], pair[1])):
        model.set_active_adapters(name)
        alone = model(**{key: tensor[question : question + 1] for key, tensor in batch.items()}, head="pick")
        assert_close(whole.logits[question], alone.logits[0], f"question {question}")
    model.add_multiple_choice_head("other")
    split = model(**batch, head=BatchSplit("pick", "other", batch_sizes=[2, 1]))
    assert [len(output.logits) for output in split] == [2, 1]
