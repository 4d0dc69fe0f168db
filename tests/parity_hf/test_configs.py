"""A config.json means here what it means to transformers, and comes back to it as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.nn.activations import ACTIVATIONS
from tests.helpers.hf_batches import batch
from tests.helpers.hf_compare import same_output
from tests.helpers.hf_files import config_of
from tests.helpers.hf_models import CASES, Case, cases, each, pair, small_config, transformers

LABELS = {"id2label": {0: "no", 1: "perhaps"}, "label2id": {"no": 0, "perhaps": 1}}
OTHER_NAMES = [(kind, name) for kind in ARCHITECTURES.values() for name in kind.config.attribute_map]


def read(architecture: Architecture, folder: Path) -> Any:
    """Transformers' config of a folder."""
    return getattr(transformers, architecture.config.__name__).from_pretrained(folder)


@each(CASES)
def test_a_config_comes_back_to_transformers_as_it_was(case: Case, tmp_path: Path) -> None:
    _, ours = pair(case, tmp_path / "there", **LABELS, num_labels=2, a_note_of_ours=[1, {"a": None}])
    ours.save_pretrained(tmp_path / "here")
    there, here = (config_of(tmp_path / name) for name in ("there", "here"))
    derived = {"transformers_version", *case.architecture.config.attribute_map}
    assert [name for name in there if name not in derived and here.get(name, name) != there[name]] == []
    found, expected = (read(case.architecture, tmp_path / name).to_dict() for name in ("here", "there"))
    assert found == expected


@pytest.mark.parametrize(
    "architecture", [kind for kind in ARCHITECTURES.values() if kind.specialise is None], ids=lambda kind: kind.name
)
def test_every_field_has_transformers_default(architecture: Architecture) -> None:
    ours, theirs = architecture.config(), getattr(transformers, architecture.config.__name__)()
    names = [*architecture.config.defaults, "num_labels", "is_encoder_decoder", "tie_word_embeddings"]
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}


@pytest.mark.parametrize(("architecture", "name"), OTHER_NAMES, ids=lambda value: getattr(value, "name", value))
def test_another_name_of_a_field_reads_and_sets_it(architecture: Architecture, name: str) -> None:
    usual = getattr(architecture.config(), name)
    value = "relu" if isinstance(usual, str) else type(usual)(usual / 2)
    config = architecture.config(**{name: value})
    assert getattr(config, architecture.config.attribute_map[name]) == getattr(config, name) == value


@pytest.mark.parametrize(
    "architecture",
    [kind for kind in ARCHITECTURES.values() if kind.config.attribute_map.get("num_hidden_layers") == "encoder_layers"],
    ids=lambda kind: kind.name,
)
def test_a_number_of_layers_that_contradicts_the_stacks_does_not_count(
    architecture: Architecture, tmp_path: Path
) -> None:
    small_config(architecture).save_pretrained(tmp_path)
    own = architecture.config.attribute_map["num_hidden_layers"]
    config = config_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": config[own] + 5}))
    ours = adapterzoo.AutoConfig.from_pretrained(tmp_path)
    assert getattr(ours, own) == getattr(read(architecture, tmp_path), own) == config[own]


SAME_NUMBERS = ("use_cache", "is_encoder_decoder", "legacy", "sinusoidal_pos_embds", "summary_use_proj")
"""Fields that are a yes or no and do not change a bare model's numbers."""


def switches() -> list[Any]:
    """A bare class, and a field of its config that is a yes or no and changes the numbers."""
    return [
        pytest.param(case, name, id=f"{case.name}-{name}")
        for case in cases(None)
        for name, default in case.architecture.config.defaults.items()
        if isinstance(default, bool) and name not in SAME_NUMBERS
    ]


@pytest.mark.parametrize(("case", "name"), switches())
def test_a_switch_does_what_it_does_in_transformers(case: Case, name: str, tmp_path: Path) -> None:
    default = case.architecture.config.defaults[name]
    outputs = []
    for value in (default, not default):
        torch.manual_seed(0)
        # Transformers' DeBERTa has a LayerNorm for distances even where these do not count.
        without = {"norm_rel_ebd": "none"} if name == "relative_attention" else {}
        theirs, ours = pair(case, tmp_path, **{name: value}, **without)
        call = batch(theirs.config)
        with torch.no_grad():
            outputs.append(theirs(**call))
            same_output(ours(**call), outputs[-1], call["attention_mask"], call["attention_mask"])
    assert not torch.allclose(outputs[0][0], outputs[1][0])


ACTIVATION_FIELDS = ("hidden_act", "activation_function", "activation")


@each(cases(None, "masked_lm"))
@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) & set(transformers.activations.ACT2FN)))
def test_every_activation_is_transformers(case: Case, activation: str, tmp_path: Path) -> None:
    (field,) = (name for name in case.architecture.config.defaults if name in ACTIVATION_FIELDS)
    theirs, ours = pair(case, tmp_path, **{field: activation})
    call = batch(theirs.config)
    with torch.no_grad():
        same_output(ours(**call), theirs(**call), call["attention_mask"], call["attention_mask"])


@each(cases(None))
def test_a_config_may_ask_for_tuples(case: Case, tmp_path: Path) -> None:
    theirs, ours = pair(case, tmp_path, return_dict=False)
    call = batch(theirs.config)
    assert isinstance(theirs(**call), tuple) and isinstance(ours(**call), tuple)
