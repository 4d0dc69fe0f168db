"""A task checkpoint as the start of another task: its head has other labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adapterzoo.archs import StaticHead
from tests.helpers.batches import batch_for
from tests.helpers.tiny import class_ids, class_named, fixed_heads, tiny_model

CLASSIFIERS = fixed_heads("classification")


@pytest.mark.parametrize(("architecture", "static"), CLASSIFIERS, ids=class_ids(CLASSIFIERS))
def test_a_head_with_other_labels_is_an_error_unless_sizes_may_differ(
    architecture: str, static: StaticHead, tmp_path: Path
) -> None:
    tiny_model(architecture, static, num_labels=4).save_pretrained(tmp_path)
    kind = class_named(architecture, static)
    with pytest.raises(ValueError, match=r"weight: shape 4×32, but the model needs 3×32"):
        kind.from_pretrained(tmp_path, num_labels=3)
    model, report = kind.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True, output_loading_info=True)
    assert model(**batch_for(model, decoder=False)).logits.size(-1) == 3
    assert {name.rpartition(".")[2] for name in report.missing_keys} == {"weight", "bias"}
    assert all(name.startswith("head.") for name in report.missing_keys)
    same = kind.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.base.parameters(), same.base.parameters(), strict=True))


def test_sizes_of_the_network_must_always_fit(tmp_path: Path) -> None:
    tiny_model("bert", "ForSequenceClassification").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="intermediate"):
        class_named("bert", "ForSequenceClassification").from_pretrained(
            tmp_path, intermediate_size=40, ignore_mismatched_sizes=True
        )
