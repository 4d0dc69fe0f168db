"""A model with a fixed head takes only a head of its own class, from either library, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import adapting
from tests.helpers.hf_models import Case, each
from tests.helpers.peer_adapters import add_random, our_model, peer_static, save_hf
from tests.helpers.static_cases import fixed

ADAPTER = "seq_bn[reduction_factor=4]"
ONE_EACH = list({case.head_type: case for case in reversed(fixed())}.values())
"""One class for each type of head: what is compared are names and settings, whatever the network."""


def other_of(case: Case) -> Case:
    """Return another class of the same architecture."""
    others = [other for other in fixed() if other.architecture is case.architecture]
    return others[others.index(case) - 1]


@each([case for case in ONE_EACH if other_of(case) is not case])
@pytest.mark.parametrize("source", ["ours", "theirs"])
def test_a_head_of_another_class_is_left_and_a_warning_names_both(
    case: Case, source: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = other_of(case)
    assert case.static is not None and other.static is not None
    folder = save_hf(other, tmp_path / "other")
    if source == "ours":
        saving = our_model(case.architecture, folder, other.static.suffix)
        adapting.add_random(saving, "test", ADAPTER)
    else:
        saving = peer_static(other, folder)
        add_random(saving, "test", ADAPTER)
    saving.save_adapter(str(tmp_path / "adapter"), "test")
    model = our_model(case.architecture, save_hf(case, tmp_path / "model"), case.static.suffix)
    before = adapting.tensors_of(model.head)
    with caplog.at_level("WARNING", "adapterzoo"):
        model.load_adapter(tmp_path / "adapter")
    said = [record.getMessage() for record in caplog.records if record.name == "adapterzoo"]
    assert len([message for message in said if other.name in message and case.name in message]) == 1
    assert "test" in model.adapters
    assert adapting.same_bits(adapting.tensors_of(model.head), before)
    with pytest.raises(ValueError, match=other.name):
        model.load_head(tmp_path / "adapter")


@each(ONE_EACH)
def test_a_head_of_the_same_class_is_taken(case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert case.static is not None
    saving = our_model(case.architecture, save_hf(case, tmp_path / "other"), case.static.suffix)
    adapting.add_random(saving, "test", ADAPTER)
    saving.save_adapter(tmp_path / "adapter", "test")
    model = our_model(case.architecture, save_hf(case, tmp_path / "model"), case.static.suffix)
    assert not adapting.same_bits(adapting.tensors_of(model.head), adapting.tensors_of(saving.head))
    with caplog.at_level("WARNING", "adapterzoo"):
        model.load_adapter(tmp_path / "adapter")
    said = [record.getMessage() for record in caplog.records if record.name == "adapterzoo"]
    assert not [message for message in said if case.name in message]
    own = set(adapting.tensors_of(model.head)) - model.head.tied
    found, wanted = adapting.tensors_of(model.head), adapting.tensors_of(saving.head)
    assert adapting.same_bits({n: found[n] for n in sorted(own)}, {n: wanted[n] for n in sorted(own)})
