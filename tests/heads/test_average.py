"""The weighted sum of heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.adapting import tensors_of
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.heads import add_head, head_types
from tests.helpers.hf_models import Case
from tests.helpers.peer_adapters import our_model, peer_model, save_hf
from tests.helpers.tiny import NAMES, tiny_model

HEADS = [(name, kind) for name in NAMES for kind in head_types(tiny_model(name))]


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
def test_the_average_is_the_weighted_sum_of_tensors(architecture: str, kind: str) -> None:
    model = tiny_model(architecture).double()
    for name in "ab":
        add_head(model, kind, name)
    before = tensors_of(model)
    model.average_head("mean", ["a", "b"], weights=[1, 3])
    model.average_head("sum", {"a": 1.0, "b": 3.0}, normalize_weights=False)
    model.average_head("same", ["a", "b"])
    assert model.active_head == "b", "the new head is not active unless asked for"
    head, (a, b) = model.heads["mean"], (model.heads[name].state_dict() for name in "ab")
    assert head.config == model.heads["a"].config
    assert head.tied == model.heads["a"].tied
    for name in set(a) - head.tied:
        assert_close(head.state_dict()[name], 0.25 * a[name] + 0.75 * b[name], name)
        assert_close(model.heads["sum"].state_dict()[name], a[name] + 3 * b[name], name)
        assert_close(model.heads["same"].state_dict()[name], (a[name] + b[name]) / 2, name)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    for name in head.tied:
        assert head.get_parameter(name) is model.base.token.weight


@pytest.mark.parametrize("architecture", NAMES)
def test_an_average_of_twins_is_the_twin_and_may_take_its_name(architecture: str) -> None:
    model = tiny_model(architecture).eval()
    kind = next(kind for kind in head_types(model) if kind.endswith("_lm"))
    add_head(model, kind, "a")
    batch = batch_for(model)
    expected = model(**batch).logits
    model.average_head("twin", ["a"], set_active=True)
    assert model.active_head == "twin"
    assert_close(model(**batch).logits, expected)
    model.average_head("a", ["a", "twin"], weights=[0.5, 1.5], overwrite_ok=True)
    assert_close(model(**batch, head="a").logits, expected)


def test_a_heads_dropout_may_differ() -> None:
    model = tiny_model("bert")
    for name, chance in (("a", 0.1), ("b", 0.3)):
        add_head(model, "tagging", name, dropout_prob=chance)
    model.average_head("c", ["a", "b"])
    assert model.heads["c"].config["dropout_prob"] == 0.1


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("weights", [None, [0.2, 0.5, 1.3]])
@pytest.mark.parametrize("model_type", ["bert", "bart"])
def test_the_average_is_the_peers(
    model_type: str, weights: list[float] | None, normalize: bool, tmp_path: Path
) -> None:
    architecture: Architecture = ARCHITECTURES[model_type]
    folder = save_hf(Case(architecture, None), tmp_path / "base")
    theirs, ours = peer_model(architecture, folder), our_model(architecture, folder)
    for name in "abc":
        add_head(ours, "classification", name)
        ours.save_head(tmp_path / name, name)
        theirs.load_head(str(tmp_path / name), use_safetensors=True)
    for model in (theirs, ours):
        model.average_head("mean", ["a", "b", "c"], weights=weights, normalize_weights=normalize)
    found: dict[str, Tensor] = ours.heads["mean"].state_dict()
    wanted = theirs.heads["mean"].state_dict()
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert_close(found[name], tensor, name)
