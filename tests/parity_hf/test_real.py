"""Real checkpoints give here what they give in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from adapterzoo import AutoAdapterModel, AutoModel
from adapterzoo.zoo import CLASSES
from tests.helpers.hf_compare import close, same_gradients, same_output, same_weights
from tests.helpers.hf_files import config_of
from tests.helpers.hf_real import CHECKPOINTS, Checkpoint


class Loaded(NamedTuple):
    checkpoint: Checkpoint
    folder: Path
    theirs: Any
    ours: Any
    call: dict[str, Tensor]

    @property
    def mask(self) -> Tensor | None:
        """Where the answering stack has tokens: everywhere, if it is told its labels."""
        return None if self.checkpoint.case.head_type == "seq2seq_lm" else self.call["attention_mask"]


@pytest.fixture(scope="module", params=CHECKPOINTS, ids=lambda checkpoint: checkpoint.name)
def loaded(request: pytest.FixtureRequest) -> Loaded:
    """A checkpoint in transformers and here, and a batch for it."""
    torch.manual_seed(0)
    checkpoint: Checkpoint = request.param
    folder, case = checkpoint.folder(), checkpoint.case
    theirs = checkpoint.theirs()
    ours, report = case.ours.from_pretrained(folder, allow_pickle=True, output_loading_info=True)
    assert report.missing_keys == []
    return Loaded(checkpoint, folder, theirs, ours, checkpoint.inputs(case, folder, theirs.config))


def test_a_real_checkpoints_outputs_are_transformers(loaded: Loaded) -> None:
    with torch.no_grad():
        ours, theirs = (model(**loaded.call, output_hidden_states=True) for model in (loaded.ours, loaded.theirs))
    same_output(ours, theirs, loaded.mask, loaded.call["attention_mask"])


def test_a_real_checkpoints_attention_is_transformers(loaded: Loaded) -> None:
    loaded.theirs.set_attn_implementation("eager")  # which alone tells probabilities; its logits are less exact
    with torch.no_grad():
        outputs = [model(**loaded.call, output_attentions=True) for model in (loaded.ours, loaded.theirs)]
    loaded.theirs.set_attn_implementation("sdpa")
    ours, theirs = ({name: o[name] for name in o.keys() if "attentions" in name} for o in outputs)  # noqa: SIM118
    same_output(ours, theirs, loaded.mask, loaded.call["attention_mask"])
    assert theirs


def test_a_real_checkpoints_weights_come_back_bit_for_bit(loaded: Loaded, tmp_path: Path) -> None:
    same_weights(loaded.ours, loaded.theirs)
    loaded.ours.save_pretrained(tmp_path)
    back = loaded.checkpoint.theirs(tmp_path).state_dict()
    before = loaded.theirs.state_dict()
    assert list(back) == list(before)
    assert all(torch.equal(back[name], tensor) for name, tensor in before.items())


def test_a_real_checkpoints_gradients_are_transformers(loaded: Loaded) -> None:
    for model in (loaded.theirs, loaded.ours):
        output = model(**loaded.call)
        loss = output["loss"] if "loss" in output else score(output, loaded.call["attention_mask"])
        loss.backward()
    try:
        same_gradients(loaded.ours, loaded.theirs)
    finally:
        for model in (loaded.theirs, loaded.ours):
            model.zero_grad(set_to_none=True)


def score(output: Any, mask: Tensor) -> Tensor:
    """A number that every token's hidden state moves, and the pooler's output."""
    hidden: Tensor = output["last_hidden_state"][mask.bool()]
    return (hidden * torch.linspace(-1, 1, hidden.size(1))).sum() + output["pooler_output"].square().sum()


def of_folder(auto: Any, suffix: str, loaded: Loaded) -> Any:
    """The Auto class; the architecture's own, if config.json does not tell which that is."""
    named = "model_type" in config_of(loaded.folder)
    return auto if named else CLASSES[loaded.checkpoint.case.architecture.name + suffix]


def test_the_flexible_model_has_the_head_of_a_task_and_no_other(loaded: Loaded) -> None:
    static = loaded.checkpoint.case.static
    flexible = of_folder(AutoAdapterModel, "AdapterModel", loaded).from_pretrained(loaded.folder, allow_pickle=True)
    named = loaded.ours.config.architectures == [loaded.checkpoint.class_name]
    if static is None or static.pretraining or not named:
        assert list(flexible.heads) == [] and flexible.active_head is None
        return
    assert list(flexible.heads) == ["default"] and flexible.active_head == "default"
    with torch.no_grad():
        ours, theirs = flexible(**loaded.call), loaded.theirs(**loaded.call)
    close(ours.logits, theirs.logits)
    close(ours.loss, theirs.loss)


def test_the_network_alone_is_the_network_under_the_head(loaded: Loaded) -> None:
    bare = of_folder(AutoModel, "Model", loaded).from_pretrained(loaded.folder, allow_pickle=True)
    network = getattr(loaded.theirs, loaded.theirs.base_model_prefix, loaded.theirs)
    call = {name: value for name, value in loaded.call.items() if not name.endswith(("labels", "label"))}
    with torch.no_grad():
        ours, theirs = bare(**call), network(**call)
    close(*(output["last_hidden_state"][call["attention_mask"].bool()] for output in (ours, theirs)))
