"""Heads beside PEFT's adapters: modules that were trained as a whole become flexible heads, and the way back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.formats.peft.heads import TASKS
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.hf_batches import inputs_for
from tests.helpers.hf_models import CASES as CLASSES
from tests.helpers.hf_models import Case, each
from tests.helpers.peer_adapters import distance, same
from tests.helpers.peft_adapters import (
    CASES,
    LONE_CACHED,
    NAMES,
    QUIET,
    moved,
    opened,
    peft,
    small_peer,
    wrapped,
)
from tests.helpers.refusing import refuses
from tests.helpers.spoiling import edit_json, edit_tensors
from tests.helpers.tiny import randomise

KINDS = ("classification", "tagging", "question_answering")
LABELLED = [case for case in CLASSES if case.architecture.model_type in NAMES and case.head_type in KINDS]
SAMPLE = ("bert", "roberta", "bart", "distilbert")
pytestmark = QUIET


def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """What a head says, in one tensor."""
    with torch.no_grad():
        out = model(**inputs)
    mask = inputs["attention_mask"].bool()
    if "start_logits" in out:
        return torch.stack([out["start_logits"][mask], out["end_logits"][mask]])
    return out["logits"][mask] if out["logits"].dim() == 3 else out["logits"]


def task_of(case: Case) -> str:
    return TASKS[case.head_type or ""]


def named(name: str, head_type: str) -> Case:
    return next(case for case in CLASSES if case.architecture.model_type == name and case.head_type == head_type)


def lora(case: Case) -> Any:
    """PEFT's LoRA for a task; its library knows only some names of heads itself."""
    config = CASES["lora"](case.architecture)
    config.task_type = task_of(case)
    config.modules_to_save = sorted({row.parts[0].partition(".")[0] for row in case.static.rows})
    return config


@each(LABELLED)
def test_a_head_of_pefts_becomes_a_flexible_one_and_fills_that_of_its_class(case: Case, tmp_path: Path) -> None:
    model, static = small_peer(case)
    theirs = wrapped(model, lora(case))
    theirs.save_pretrained(tmp_path)
    inputs = inputs_for(case, static.config)
    flexible, expected = static.to_flexible("other"), logits(theirs, inputs)
    before = logits(static, inputs)
    for ours in (flexible, copy.deepcopy(static)):
        assert ours.load_adapter(tmp_path, load_as="a", set_active=True) == "a"
        same(logits(ours, inputs), expected)
        assert distance(before, expected) > 0.01
    assert flexible.active_head == "a"
    names = None if case.head_type == "question_answering" else {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert names is None or flexible.get_labels_dict("a") == names


@pytest.mark.parametrize("name", LONE_CACHED)
@pytest.mark.parametrize("kind", [peft.PrefixTuningConfig, peft.PromptTuningConfig])
def test_a_head_beside_prefixes_or_a_prompt_is_read_and_written(name: str, kind: Any, tmp_path: Path) -> None:
    case = named(name, "tagging")
    model, static = small_peer(case)
    width = static.base.config.first.token_width if kind is peft.PromptTuningConfig else 32
    fresh = copy.deepcopy(model)
    theirs = wrapped(model, kind(task_type="TOKEN_CLS", num_virtual_tokens=3, token_dim=width))
    theirs.save_pretrained(tmp_path / "theirs")
    inputs, ours = inputs_for(case, static.config), static.to_flexible("other")
    ours.load_adapter(tmp_path / "theirs", load_as="a", set_active=True)
    mask = inputs["attention_mask"].bool()
    with torch.no_grad():
        expected = theirs(**inputs)["logits"][:, -mask.size(1) :][mask]
    same(logits(ours, moved(name, inputs, 3)), expected)
    if kind is peft.PrefixTuningConfig:
        ours.save_adapter(tmp_path / "ours", "a", to="peft")
        same(logits(opened(fresh, tmp_path / "ours"), inputs), expected)


WRITTEN = [case for case in CLASSES if case.architecture.model_type in SAMPLE and case.static is not None]


@each(WRITTEN)
def test_a_head_written_here_says_the_same_in_peft(case: Case, tmp_path: Path) -> None:
    """Of every class; PEFT puts it in place of the model's own."""
    model, static = small_peer(case)
    ours, inputs = static.to_flexible("a"), inputs_for(case, static.config)
    add_random(ours, "a", CONFIGS["lora_all"])
    head = ours.heads["a"]
    own = [parameter for name, parameter in head.named_parameters() if name not in head.tied]
    randomise(torch.nn.ParameterList(own))
    for bias in (*head.buffers(), *(buffer for name, buffer in model.named_buffers() if name == "final_logits_bias")):
        bias.zero_()
    ours.save_adapter(tmp_path, "a", to="peft")
    ours.set_active_adapters("a")
    with torch.no_grad():
        expected, found = opened(model, tmp_path)(**inputs), ours(**inputs)
    fields = [field for field in FIELDS if expected.get(field) is not None]
    assert fields
    for field in fields:
        by_token = expected[field].shape[:2] == inputs["input_ids"].shape and case.head_type != "multiple_choice"
        same(found[field], expected[field], inputs["attention_mask"].bool() if by_token else None)


FIELDS = ("logits", "prediction_logits", "start_logits", "end_logits", "seq_relationship_logits")


def test_a_bias_of_the_vocabulary_that_lies_in_no_module_is_not_written(tmp_path: Path) -> None:
    _, static = small_peer(named("bart", "seq2seq_lm"))
    add_random(static, "a", CONFIGS["lora"])
    with refuses(ValueError, "PEFT keeps modules, but final_logits_bias is none", model=static, folder=tmp_path):
        static.save_adapter(tmp_path, "a", to="peft")


def test_a_head_that_no_class_has_is_not_written_unless_left_out(tmp_path: Path) -> None:
    _, static = small_peer(named("bert", "classification"))
    ours = static.to_flexible("other")
    ours.add_classification_head("a", num_labels=3)
    add_random(ours, "a", CONFIGS["lora"])
    said = ["head 'a' is no class's fixed head", "save the adapter without it: with_head=False"]
    with refuses(ValueError, *said, model=ours, folder=tmp_path):
        ours.save_adapter(tmp_path, "a", to="peft")
    ours.save_adapter(tmp_path, "a", with_head=False, to="peft")
    model, _ = small_peer(Case(ARCHITECTURES["bert"], None))
    opened(model, tmp_path)


def saved_head(case: Case, folder: Path) -> Any:
    """Save PEFT's LoRA with a head in a folder, and return our model of that class."""
    model, static = small_peer(case)
    wrapped(model, lora(case)).save_pretrained(folder)
    return static


def test_a_bare_model_and_one_that_wants_no_head_leave_it_aside(tmp_path: Path) -> None:
    saved_head(named("bert", "tagging"), tmp_path)
    _, bare = small_peer(Case(ARCHITECTURES["bert"], None))
    assert bare.load_adapter(tmp_path, load_as="a") == "a"
    _, static = small_peer(named("bert", "tagging"))
    flexible = static.to_flexible("other")
    flexible.load_adapter(tmp_path, load_as="a", with_head=False)
    assert list(flexible.heads) == ["other"]


def test_a_fixed_head_of_another_class_is_passed_over_and_told(tmp_path: Path, caplog: Any) -> None:
    saved_head(named("bert", "tagging"), tmp_path)
    _, static = small_peer(named("bert", "classification"))
    before = {key: tensor.clone() for key, tensor in static.head.state_dict().items()}
    static.load_adapter(tmp_path, load_as="a")
    assert "the adapter is loaded without it" in caplog.text
    assert all(torch.equal(before[key], tensor) for key, tensor in static.head.state_dict().items())


def test_labels_may_be_named(tmp_path: Path) -> None:
    static = saved_head(named("roberta", "classification"), tmp_path)
    ours = static.to_flexible("other")
    ours.load_adapter(tmp_path, load_as="a", id2label={0: "bad", 1: "so so", 2: "good"})
    assert ours.get_labels("a") == ["bad", "so so", "good"]


def test_a_head_of_which_nothing_says_what_it_is_is_refused(tmp_path: Path) -> None:
    static = saved_head(named("bert", "tagging"), tmp_path)
    ours = static.to_flexible("other")
    edit_json(tmp_path / "adapter_config.json", task_type=None)
    said = "may be that of BertForMultipleChoice, BertForSequenceClassification, BertForTokenClassification"
    with refuses(ValueError, said, model=ours):
        ours.load_adapter(tmp_path, load_as="a")
    classes = {"base_model_class": "BertForTokenClassification"}
    edit_json(tmp_path / "adapter_config.json", task_type=None, auto_mapping=classes)
    assert ours.load_adapter(tmp_path, load_as="a") == "a"
    assert ours.heads["a"].head_type == "tagging"


def test_every_tensor_of_a_head_that_does_not_fit_is_named(tmp_path: Path) -> None:
    static = saved_head(named("roberta", "classification"), tmp_path)
    ours, path = static.to_flexible("other"), tmp_path / "adapter_model.safetensors"
    good = path.read_bytes()
    edit_tensors(path, lambda tensors: {key: tensor for key, tensor in tensors.items() if "out_proj" not in key})
    with refuses(ValueError, "4.bias is not there", "4.weight is not there", model=ours):
        ours.load_adapter(tmp_path, load_as="a")
    path.write_bytes(good)
    edit_tensors(path, lambda tensors: {**tensors, "base_model.model.roberta.pooler.dense.weight": torch.ones(2)})
    with refuses(ValueError, "roberta.pooler.dense.weight has no place here", model=ours):
        ours.load_adapter(tmp_path, load_as="a")
