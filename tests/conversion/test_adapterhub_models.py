"""Whole models with adapters and heads inside, from AdapterHub's library and for it: equal outputs, live."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adapterzoo
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.formats import adapterhub_library as library
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.converting import Command, command, convert
from tests.helpers.peer_adapters import adapters, flexible_class, peer_heads, peer_parameters, sign_diagonals
from tests.helpers.tiny import NAMES, randomise, tiny_config, tiny_model

__all__ = ["command"]  # a fixture
ADD: dict[str, Callable[[Any, str], object]] = {
    "classification": lambda model, name: model.add_classification_head(name, num_labels=3),
    "multilabel_classification": lambda model, name: model.add_classification_head(name, num_labels=3, multilabel=True),
    "tagging": lambda model, name: model.add_tagging_head(name, num_labels=3),
    "question_answering": lambda model, name: model.add_qa_head(name),
    "multiple_choice": lambda model, name: model.add_multiple_choice_head(name),
    "masked_lm": lambda model, name: model.add_masked_lm_head(name),
    "causal_lm": lambda model, name: model.add_causal_lm_head(name),
    "seq2seq_lm": lambda model, name: model.add_seq2seq_lm_head(name),
    "dependency_parsing": lambda model, name: model.add_dependency_parsing_head(name, num_labels=3),
    "similarity": lambda model, name: model.add_similarity_head(name),
}
"""Heads by their type, made by either library's method."""

FUSED = ["seq_bn", "e"]
THERE = [name for name in NAMES if name in library.HEADS]
QUICK = ("bert", "bart")
each_there = pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in THERE]
)


def inputs_for(model: Any, head: str | None) -> dict[str, Tensor]:
    """Ids without padding, in the shape that the head reads."""
    torch.manual_seed(1)
    ids = torch.randint(4, 60, (2, 8))
    if model.base.config.decoder is not None:
        ids[:, -1] = model.config.eos_token_id
    if head == "multiple_choice":
        ids = ids[:, None].repeat(1, 2, 1)
    more = {"word_starts": torch.arange(9).repeat(2, 1)} if head == "dependency_parsing" else {}
    return {"input_ids": ids, **more}


def same_everywhere(ours: Any, theirs: Any) -> None:
    """Check that both give the same with each head, and with each adapter."""
    for head in theirs.heads:
        same_with(ours, theirs, None, head)
    for name in theirs.adapters_config.adapters:
        same_with(ours, theirs, name, next(iter(theirs.heads), None))


def same_with(ours: Any, theirs: Any, adapter: Any, head: str | None) -> None:
    """Check that both give the same with these active; the peer's adapter may put tokens before others."""
    found = []
    for model, setup in ((ours, adapter), (theirs, adapter)):
        model.eval().set_active_adapters(setup)
        model.active_head = head
        with torch.no_grad():
            found.append(model(**inputs_for(ours, head))[0])
    mine, yours = found
    if adapter is not None and "prompt" in str(adapter) and mine.shape != yours.shape:
        return  # it answers for the prompt's tokens, too
    assert mine.shape == yours.shape, (adapter, head)
    scale = float(yours.abs().max().clamp(min=1))
    assert float((mine - yours).abs().max()) < 1e-5 * scale, (adapter, head)


def full_model(architecture: str) -> Any:
    """A model with a random adapter of every kind, and a head of every type that fits."""
    torch.manual_seed(0)
    model = tiny_model(architecture)
    for name in CONFIGS:
        add_random(model, name, std=0.1)
        sign_diagonals(dict(model.adapters[name].named_parameters()))
    add_random(model, "e", "seq_bn[reduction_factor=8]", 0.1)
    for kind, add in ADD.items():
        if kind in ARCHITECTURES[architecture].heads:
            add(model, kind)
    model.add_adapter_fusion(FUSED, "static")
    randomise(model.fusions[",".join(FUSED)], 0.1)
    return model


@each_there
def test_what_is_not_refused_computes_the_same_there(architecture: str, tmp_path: Path, command: Command) -> None:
    model = full_model(architecture)
    model.save_pretrained(tmp_path / "src")
    refused = command("convert", tmp_path / "src", tmp_path / "dst", "--to", "adapterhub", "--dry-run")
    assert refused.code == 1 and "adapters has no method bitfit" in refused.err
    target = convert(tmp_path / "src", tmp_path / "dst", "--to", "adapterhub", "--drop", "*")
    kind = adapters().AutoAdapterModel
    theirs, info = kind.from_pretrained(target, output_loading_info=True, attn_implementation="eager")
    told = {key for keys in info.values() for key in keys if not key.endswith("in_proj.bias")}  # DeBERTa's, which is 0
    assert not told
    assert len(theirs.adapters_config.adapters) > 15 and len(theirs.heads) == len(set(theirs.heads))
    for name in model.adapters:
        assert (name in theirs.adapters_config.adapters) != (f"adapters/{name}: " in refused.err), name
    for name in model.heads:
        assert (name in theirs.heads) != (f"heads/{name}: " in refused.err), name
    same_everywhere(model, theirs)
    same_with(model, theirs, None, next(iter(theirs.heads)))
    for one, fuse in ((model, adapterzoo.Fuse), (theirs, adapters().Fuse)):
        one.set_active_adapters(fuse(*FUSED))
        one.active_head = next(iter(theirs.heads))
    with torch.no_grad():
        found = [one(**inputs_for(model, one.active_head))[0] for one in (model, theirs)]
    assert torch.allclose(*found, atol=1e-5)


CONFIGS_THERE = {
    "a": "seq_bn",
    "b": "lora",
    "c": "seq_bn_inv",
    "d": "double_seq_bn[reduction_factor=4]",
    "e": "seq_bn[reduction_factor=8]",
    "p": "prefix_tuning[use_gating=True]",
    "v": "vera",
    "u": "unipelt",
    "m": "mtl_lora",
}


LORAS = ("b", "v", "u", "m")


def configs_there(architecture: str) -> dict[str, str]:
    """The adapters of a model of the peer's; of DeBERTa, but LoRAs: these are refused (test_differences_deberta)."""
    joint = any(row.turns > 1 for row in ARCHITECTURES[architecture].rows)
    return {name: text for name, text in CONFIGS_THERE.items() if not (joint and name in LORAS)}


def peer_model(architecture: str, folder: Path, **how: Any) -> Any:
    """A model of the peer's with random adapters and heads, saved."""
    torch.manual_seed(0)
    kind = flexible_class(ARCHITECTURES[architecture])
    config = kind.config_class(**tiny_config(architecture).to_dict())
    theirs = kind._from_config(config, attn_implementation="eager").eval()
    configs = configs_there(architecture)
    for name, text in configs.items():
        theirs.add_adapter(name, config=text)
    theirs.add_adapter_fusion(["a", "e"])
    for kind_of_head in ("classification", "seq2seq_lm", "masked_lm", "tagging"):
        if kind_of_head in theirs.head_types:
            ADD[kind_of_head](theirs, kind_of_head)
    randomise(nn.ParameterList(theirs.parameters()), 0.1)
    for key, parameter in theirs.named_parameters():
        if key.endswith("in_proj.bias"):  # which DeBERTa does not have
            parameter.data.zero_()
    for name in configs:
        for key, parameter in peer_parameters(theirs, name).items():
            if key.rpartition(".")[2] in ("vera_D", "vera_B"):
                parameter.data.copy_(parameter.data.diagonal().diag())
    theirs.eval().save_pretrained(folder, **how)
    return kind.from_pretrained(folder, attn_implementation="eager").eval()  # to save takes prefixes away


@each_there
def test_what_it_saved_loads_here_with_adapters_and_heads(architecture: str, tmp_path: Path) -> None:
    theirs = peer_model(architecture, tmp_path / "src")
    model = adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "src")
    assert set(model.adapters) == set(configs_there(architecture)) and list(model.fusions) == ["a,e"]
    assert set(model.heads) == set(theirs.heads) and model.active_head == theirs.active_head
    assert not {"adapters", "prediction_heads"} & set(model.config.extra)
    same_everywhere(model, theirs)
    spare = ("--drop", "*in_proj.bias") * any("in_proj.bias" in name for name in theirs.state_dict())
    converted = convert(tmp_path / "src", tmp_path / "dst", "--to", "adapterzoo", "--verify", *spare)
    same_everywhere(adapterzoo.AutoAdapterModel.from_pretrained(converted), theirs)
    back = convert(converted, tmp_path / "back", "--to", "adapterhub")
    again = adapters().AutoAdapterModel.from_pretrained(back, attn_implementation="eager")
    same_everywhere(model, again)


@pytest.mark.parametrize("how", [{"safe_serialization": False}, {"max_shard_size": "20KB"}], ids=str)
def test_whatever_its_files_are(how: dict[str, Any], tmp_path: Path, command: Command) -> None:
    theirs = peer_model("bert", tmp_path / "src", **how)
    same_everywhere(adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "src", allow_pickle=True), theirs)
    words = ("convert", tmp_path / "src", tmp_path / "dst", "--to", "adapterzoo", "-q")
    done = command(*words)
    assert done.code == int("safe_serialization" in how)
    assert command(*words, "--allow-pickle", "--force").code == 0
    same_everywhere(adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "dst"), theirs)


def test_a_class_with_a_fixed_head_has_its_adapters_inside_too(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**tiny_config("bert").to_dict())
    theirs = transformers.BertForSequenceClassification(config)
    adapters().init(theirs)
    theirs.add_adapter("a", config="double_seq_bn")
    randomise(nn.ParameterList(theirs.parameters()), 0.1)
    theirs.save_pretrained(tmp_path / "src")
    theirs.eval().set_active_adapters("a")
    ids = torch.randint(4, 60, (2, 8))
    kinds = (adapterzoo.BertForSequenceClassification, adapterzoo.AutoAdapterModel)
    folders = (tmp_path / "src", convert(tmp_path / "src", tmp_path / "dst", "--verify"))
    for folder in folders:
        for kind in kinds:
            model = kind.from_pretrained(folder)
            model.set_active_adapters("a")
            with torch.no_grad():
                assert torch.allclose(model(ids).logits, theirs(ids).logits, atol=1e-5)


def test_the_tables_say_what_the_library_has() -> None:
    adapters()
    from adapters.heads.model_mixin import MODEL_HEAD_MAP

    for name, architecture in ARCHITECTURES.items():
        assert set(library.HEADS.get(name, ())) == peer_heads(architecture), name
    for kind, settings in library.SETTINGS.items():
        taken = set(inspect.signature(MODEL_HEAD_MAP[kind].__init__).parameters) - {"self", "model", "head_name"}
        also = {"num_labels"} if "id2label" in taken else set()
        assert {"label2id" if one == "id2label" else one for one in taken} - also <= set(settings), kind
        assert set(settings) - taken <= {"label2id"}, kind


def test_two_configs_that_it_calls_alike_stay_two(tmp_path: Path) -> None:
    model = tiny_model("bert")
    for name, bias in (("with", True), ("without", False)):
        model.add_adapter(name, f"seq_bn[phm_bias={bias}]")
    model.save_pretrained(tmp_path / "src")
    target = convert(tmp_path / "src", tmp_path / "dst", "--to", "adapterhub")
    theirs = adapters().AutoAdapterModel.from_pretrained(target)
    assert [theirs.adapters_config.get(name)["phm_bias"] for name in ("with", "without")] == [True, False]


def test_everything_that_is_refused_is_told_and_nothing_written(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    for name, config in (("a.b", "seq_bn"), ("keys", "lora"), ("ln", "ln_tuning"), ("fine", "seq_bn")):
        model.add_adapter(name, config)
    model.add_adapter_fusion(["fine", "a.b"], "dynamic[temperature=True]", name="both")
    model.add_similarity_head("same")
    model.add_classification_head("odd", num_labels=3)
    model.heads["odd"].config["problem_type"] = "regression"
    model.save_pretrained(tmp_path / "src")
    words = ("convert", tmp_path / "src", tmp_path / "dst", "--to", "adapterhub")
    done = command(*words)
    assert done.code == 1 and not (tmp_path / "dst").exists()
    for said in (
        "adapters/a%2Eb: adapters has no room for the name 'a.b'",
        "adapters/keys: adapters has no room for the name 'keys'",
        "adapters/ln: adapters has no method ln_tuning",
        "fusions/both: adapters has no means to load a fusion that is neither",
        "heads/same: adapters has no similarity head for bert",
        "heads/odd: adapters has no setting problem_type of classification heads",
    ):
        assert said in done.err
    done = command(*words, "--drop", "*/[abklos]*")
    assert done.code == 0 and "heads/same stays behind" in done.out and "fusions/both stays behind" in done.out
    assert list(adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "dst").adapters) == ["fine"]


def test_there_is_no_class_for_some_architectures(tmp_path: Path, command: Command) -> None:
    for name in (name for name in NAMES if name not in library.HEADS):
        tiny_model(name).save_pretrained(tmp_path / name)
        done = command("convert", tmp_path / name, tmp_path / "dst", "--to", "adapterhub")
        assert done.code == 1 and f"no class with flexible heads for {name}" in done.err
