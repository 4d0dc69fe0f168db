"""`verify`: hidden states, logits and losses of every class, of ours and of the peers, on ids and on texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.conversion.drawing import LABELS, drawn_inputs, labelled
from adapterzoo.heads import HEADS
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.converting import Command, command, rewrite
from tests.helpers.heads import add_head
from tests.helpers.hf_models import CASES, Case, cases, each, peer
from tests.helpers.peer_adapters import adapters
from tests.helpers.peft_adapters import QUIET
from tests.helpers.processes_here import processes_here
from tests.helpers.tiny import tiny_model
from tests.helpers.vocabularies import vocab_folder

__all__ = ["command", "processes_here"]  # fixtures
pytestmark = QUIET
PAIRS = [Case(kind, head) for kind in ARCHITECTURES.values() if kind.specialise for head in kind.classes]
FAMILIES = ("bert", "roberta", "bart", "distilbert", "electra", "deberta", "encoder-decoder")
"""Whose classes are compared quickly; the others share code and tables with one of them, or are close to it."""
TEXTS = "the film was good\nit was so bad\n\nnot so bad\ngood\n"


def verified(command: Command, *words: object, same: bool = True) -> dict[str, Any]:
    """What `verify --json` tells, by output; it must be the same, or must not."""
    done = command("verify", *words, "--json")
    assert done.err == "" and done.code == (not same), done
    told = json.loads(done.out)
    assert told["same"] is same and (told["parted_at"] is None) is same
    return {"parted_at": told["parted_at"], **{gap["name"]: gap for gap in told["outputs"]}}


def flexible(folder: Path, kind: str, architecture: str = "bert", **settings: Any) -> Any:
    """Save a small model with an adapter, beside it the adapter with a head of a type; returns the model."""
    model = tiny_model(architecture)
    model.save_pretrained(folder / "base")
    add_random(model, "a", "lora" if not architecture.startswith("deberta") else "seq_bn")
    add_head(model, kind, "a", **settings)
    for buffer in model.heads["a"].buffers():  # a bias of the vocabulary's, which AdapterHub's files don't hold
        buffer.zero_()
    model.save_adapter(folder / "adapter", "a")
    model.set_active_adapters("a")
    return model


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if case.architecture.model_type in FAMILIES else [pytest.mark.slow])
        for case in (*CASES, *PAIRS)
    ],
)
def test_every_class_and_its_loss_against_transformers(
    case: Case, tmp_path: Path, command: Command, processes_here: None
) -> None:
    peer(case).save_pretrained(tmp_path)
    told = verified(command, tmp_path, "--against", "transformers", "--tolerance", "1e-5")
    assert ("loss" in told) == (case.head_type is not None)
    assert case.head_type is None or told["loss"]["scale"] > 0.1
    layers = [name for name in told if "hidden_states." in name]
    assert len(layers) > 2 and sorted(layers, key=lambda name: not name.startswith("encoder")) == layers


@pytest.mark.parametrize("kind", LABELS)
def test_every_head_learns_from_labels_that_fit_it(kind: str, tmp_path: Path, command: Command) -> None:
    architecture = next(name for name in ARCHITECTURES if kind in ARCHITECTURES[name].head_types)
    flexible(tmp_path, kind, architecture)
    words = ["--base", tmp_path / "base"]
    told = verified(command, tmp_path / "adapter", tmp_path / "adapter", *words, "--tolerance", "0")
    assert told["loss"]["scale"] > 0 and list(told)[-1] == "loss"
    again = verified(command, tmp_path / "adapter", tmp_path / "adapter", *words, "--seed", "1")
    assert again["loss"]["scale"] != told["loss"]["scale"]


def test_every_head_is_known() -> None:
    assert set(LABELS) == set(HEADS)


SAMPLE = [("bert", kind) for kind in ("classification", "multilabel_classification", "multiple_choice", "tagging")]
SAMPLE += [("roberta", "dependency_parsing"), ("bart", "question_answering"), ("bart", "seq2seq_lm")]
SAMPLE += [("mbart", "classification"), ("distilbert", "masked_lm"), ("electra", "tagging"), ("deberta", "tagging")]
SAMPLE += [("plbart", "seq2seq_lm"), ("xlm-roberta", "masked_lm"), ("deberta-v2", "classification")]


@pytest.mark.parametrize(("architecture", "kind"), SAMPLE)
def test_an_adapter_and_its_head_against_adapters(
    architecture: str, kind: str, tmp_path: Path, command: Command, processes_here: None
) -> None:
    assert adapters()
    flexible(tmp_path, kind, architecture)
    words = ["--base", tmp_path / "base", "--against", "adapters"]
    told = verified(command, tmp_path / "adapter", *words)
    assert told["loss"]["scale"] > 0.01


OF_PEFT = [case for case in CASES if case.architecture.model_type in ("bert", "roberta", "bart", "distilbert")]
OF_PEFT = [case for case in OF_PEFT if case.static is not None and not case.static.decoder_only]


@each(
    [*OF_PEFT, *(case for case in cases(None) if case.architecture.model_type in ("electra", "mbart", "xlm-roberta"))]
)
def test_an_adapter_and_its_head_against_peft(
    case: Case, tmp_path: Path, command: Command, processes_here: None
) -> None:
    theirs = peer(case)
    for name, buffer in theirs.named_buffers():
        if name == "final_logits_bias":  # which PEFT keeps for no adapter
            buffer.zero_()
    theirs.save_pretrained(tmp_path / "base")
    model = case.ours.from_pretrained(tmp_path / "base")
    model = model.to_flexible("a") if case.static is not None else model
    add_random(model, "a", CONFIGS["lora_all"])
    model.save_adapter(tmp_path / "adapter", "a", to="peft")
    words = ["--base", tmp_path / "base", "--against", "peft", "--tolerance", "1e-5"]
    told = verified(command, tmp_path / "adapter", *words)
    assert ("loss" in told) == (case.head_type is not None)


def test_losses_alone_may_part(tmp_path: Path, command: Command) -> None:
    """Of a causal language model, whose labels are shifted, and a masked one with the same head and tensors."""
    model = tiny_model("bert", "AdapterModel", is_decoder=True)
    for name, kind in (("one", "causal_lm"), ("other", "masked_lm")):
        model.add_prediction_head_from_config(
            "h", {"head_type": kind, "layers": 2, "bias": True, "layer_norm": True, "activation_function": "gelu"}, True
        )
        torch.manual_seed(1)
        for parameter in model.heads["h"].parameters():
            parameter.data.normal_()
        model.save_pretrained(tmp_path / name)
    told = verified(command, tmp_path / "one", tmp_path / "other", same=False)
    assert told["parted_at"] == "loss" and told["logits"]["largest"] == 0


def test_losses_of_other_tasks_are_not_compared(tmp_path: Path, command: Command) -> None:
    for labels in (2, 3):
        model = tiny_model("bert", "AdapterModel")
        add_head(model, "classification", "h", num_labels=labels)
        model.save_pretrained(tmp_path / str(labels))
    told = verified(command, tmp_path / "2", tmp_path / "3", same=False)
    assert "loss" not in told and told["logits"]["largest"] is None  # other shapes


@pytest.mark.parametrize("kind", ["tagging", "multiple_choice", "similarity", "dependency_parsing"])
def test_texts_are_what_is_compared_on(kind: str, tmp_path: Path, command: Command) -> None:
    model = flexible(tmp_path, kind)
    vocab_folder(tmp_path / "base", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(TEXTS.split()))])
    (tmp_path / "texts").write_text(TEXTS)
    words = ["--base", tmp_path / "base", "--text", tmp_path / "texts"]
    told = verified(command, tmp_path / "adapter", tmp_path / "adapter", *words)
    assert told["loss"]["scale"] > 0 and model.heads["a"].head_type == kind
    said = command("verify", tmp_path / "adapter", tmp_path / "adapter", *words).out
    assert said.splitlines()[-1] == "the same (tolerance 0.0001)" and "\nloss " in said


def test_texts_that_make_up_no_questions_are_refused(tmp_path: Path, command: Command) -> None:
    flexible(tmp_path, "multiple_choice", num_choices=3)
    vocab_folder(tmp_path / "base", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    (tmp_path / "texts").write_text(TEXTS)
    words = ["--base", tmp_path / "base", "--text", tmp_path / "texts"]
    done = command("verify", tmp_path / "adapter", tmp_path / "adapter", *words)
    assert done.code == 1 and "4 texts cannot be divided into questions of 3 choices" in done.err


def test_labels_are_for_rows_without_padding_and_the_same_for_a_seed() -> None:
    model = tiny_model("bert")
    add_head(model, "question_answering", "h")
    inputs = drawn_inputs(model, 5)
    assert int(inputs["attention_mask"].sum()) < inputs["attention_mask"].numel()
    first, second, other = (labelled(model, inputs, seed) for seed in (5, 5, 6))
    assert bool(first["attention_mask"].all()) and first["input_ids"].shape == (2, 16)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_where_a_layer_of_the_decoder_parts_is_told_after_all_of_the_encoder(tmp_path: Path, command: Command) -> None:
    peer(cases("seq2seq_lm")[0]).save_pretrained(tmp_path / "a")
    peer(cases("seq2seq_lm")[0]).save_pretrained(tmp_path / "b")
    for folder, factor in (("a", 1), ("b", 2)):
        torch.manual_seed(0)
        rewrite(
            tmp_path / folder,
            lambda tensors, factor=factor: {
                name: torch.randn_like(tensor) * (factor if "decoder.layers.1.fc1" in name else 1)
                for name, tensor in tensors.items()
            },
        )
    told = verified(command, tmp_path / "a", tmp_path / "b", same=False)
    assert told["parted_at"] == "decoder_hidden_states.2"
    names = list(told)[1:]
    assert names.index("encoder_hidden_states.2") < names.index("decoder_hidden_states.0") < names.index("logits")


def test_what_a_peer_cannot_run_is_told(tmp_path: Path, command: Command, processes_here: None) -> None:
    flexible(tmp_path, "classification")
    words = ["--base", tmp_path / "base", "--against", "peft"]
    done = command("verify", tmp_path / "adapter", *words)
    assert done.code == 1 and "no class's fixed head" in done.err
    done = command("verify", tmp_path / "base", "--against", "adapters")
    assert done.code == 2 and "--base" in done.err
