"""Checkpoints as they lie about: old names, no prefix, no class, doubled tensors, more than the class has room for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.conversion.output import COPIED
from tests.helpers.adapting import add_random
from tests.helpers.comparing import assert_same
from tests.helpers.converting import (
    Command,
    command,
    convert,
    edit_config,
    first,
    rewrite,
    same_tensors,
    saved,
    tensors_in,
)
from tests.helpers.hf_models import CASES, Case, each, peer
from tests.helpers.tiny import NAMES, tiny_model

__all__ = ["command"]  # a fixture

LONE = first("next_sentence").architecture.name  # the architecture whose LayerNorms once had other names


def old(name: str) -> str:
    """A LayerNorm's names of 2018."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def test_names_of_2018_and_a_missing_model_type_are_understood(tmp_path: Path, command: Command) -> None:
    model = saved(tmp_path / "src", "pretraining")
    changed = rewrite(tmp_path / "src", lambda tensors: {old(name): value for name, value in tensors.items()})
    assert any(name.endswith("gamma") for name in changed)
    edit_config(tmp_path / "src", drop=("model_type", "architectures"))
    done = command("convert", tmp_path / "src", tmp_path / "dst", "--allow-pickle")
    assert done.code == 1 and "--model-type" in done.err
    convert(tmp_path / "src", tmp_path / "dst", "--model-type", model.config.model_type)
    same_tensors(type(model).from_pretrained(tmp_path / "dst").state_dict(), model.state_dict())


@each([case for case in CASES if case.static is None])
def test_a_bare_model_may_have_its_prefix_or_not(case: Case, tmp_path: Path) -> None:
    model, prefix = peer(case), f"{case.architecture.prefix}."
    model.save_pretrained(tmp_path / "src")
    before = tensors_in(tmp_path / "src")
    rewrite(tmp_path / "src", lambda tensors: {prefix + name: value for name, value in tensors.items()})
    same_tensors(tensors_in(convert(tmp_path / "src", tmp_path / "dst")), before)


@each([case for case in CASES if case.static is None])
def test_a_bare_model_without_pooler_stays_so(case: Case, tmp_path: Path) -> None:
    peer(case).save_pretrained(tmp_path / "src")
    kept = rewrite(
        tmp_path / "src", lambda tensors: {name: value for name, value in tensors.items() if "pooler" not in name}
    )
    same_tensors(tensors_in(convert(tmp_path / "src", tmp_path / "dst")), kept)


@each([case for case in CASES if case.head_type in (None, "question_answering", "pretraining", "next_sentence")])
def test_a_class_that_is_not_named_is_told_by_the_tensors(case: Case, tmp_path: Path) -> None:
    peer(case).save_pretrained(tmp_path / "src")
    edit_config(tmp_path / "src", drop=("architectures",))
    convert(tmp_path / "src", tmp_path / "dst")
    assert adapterzoo.AutoConfig.from_pretrained(tmp_path / "dst").architectures == [case.name]


@each([case for case in CASES if case.static is None])
def test_a_class_that_nothing_names_is_the_bare_one_and_told_to_be_no_whole(
    case: Case, tmp_path: Path, command: Command
) -> None:
    peer(case).save_pretrained(tmp_path / "src")
    edit_config(tmp_path / "src", drop=("architectures",))
    lost = next(name for name in tensors_in(tmp_path / "src") if name.endswith("bias"))
    rewrite(tmp_path / "src", lambda tensors: {name: value for name, value in tensors.items() if name != lost})
    done = command("convert", tmp_path / "src", tmp_path / "dst", "--allow-pickle")
    assert done.code == 1 and f"is no whole {case.name}:" in done.err and "is not there" in done.err


PAIRS = [Case(kind, static) for kind in ARCHITECTURES.values() if kind.specialise for static in kind.statics]


@pytest.mark.parametrize("drop", [(), ("architectures",)])
@each(PAIRS)
def test_a_pair_converts_whole(case: Case, drop: tuple[str, ...], tmp_path: Path) -> None:
    model = peer(case)
    model.save_pretrained(tmp_path / "src")
    edit_config(tmp_path / "src", drop=drop)
    target = convert(tmp_path / "src", tmp_path / "dst")
    same_tensors(case.theirs.from_pretrained(target).state_dict(), model.state_dict())
    assert adapterzoo.AutoConfig.from_pretrained(target).architectures == [case.name]


def test_classes_that_the_tensors_cannot_tell_apart_are_listed(tmp_path: Path, command: Command) -> None:
    model = saved(tmp_path / "src", "masked_lm")
    edit_config(tmp_path / "src", drop=("architectures",))
    rivals = [
        case.name for case in CASES if case.architecture.name == LONE and case.head_type in ("masked_lm", "causal_lm")
    ]
    done = command("convert", tmp_path / "src", tmp_path / "dst")
    assert done.code == 1 and " or ".join(rivals) in done.err and "--class" in done.err
    convert(tmp_path / "src", tmp_path / "dst", "--class", type(model).__name__)
    same_tensors(type(model).from_pretrained(tmp_path / "dst").state_dict(), model.state_dict())


def test_what_the_class_has_no_room_for_is_an_error_and_the_class_that_has_it_is_named(
    tmp_path: Path, command: Command
) -> None:
    model = saved(tmp_path / "src", "pretraining")
    narrower = first("masked_lm").name
    edit_config(tmp_path / "src", architectures=[narrower])
    done = command("convert", tmp_path / "src", tmp_path / "dst")
    assert (done.code, done.out) == (1, "")
    for name in ("cls.seq_relationship.weight", "cls.seq_relationship.bias", type(model).__name__, "--drop"):
        assert name in done.err
    assert not (tmp_path / "dst").exists()
    convert(tmp_path / "src", tmp_path / "dropped", "--drop", "cls.seq_relationship.*")
    left = tensors_in(tmp_path / "dropped")
    # The pooler, too, is more than this class has; but others read it, and the tables know it: it stays.
    wanted = {name: value for name, value in model.state_dict().items() if name in left}
    assert set(tensors_in(tmp_path / "src")) - set(left) == {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
    same_tensors(left, wanted)


def test_a_pooler_beside_a_class_without_one_serves_the_classes_that_have_it(tmp_path: Path) -> None:
    model, case = saved(tmp_path / "src", "masked_lm"), first("masked_lm")
    width, stem = model.config.hidden_size, f"{case.architecture.prefix}.pooler.dense"
    pooler = {f"{stem}.weight": torch.randn(width, width), f"{stem}.bias": torch.randn(width)}
    rewrite(tmp_path / "src", lambda tensors: {**tensors, **pooler})
    target = convert(tmp_path / "src", tmp_path / "dst")
    for kind in (adapterzoo.AutoModel, adapterzoo.AutoAdapterModel):
        found = kind.from_pretrained(target).base.pooler
        same_tensors(dict(zip(pooler, (found.weight, found.bias), strict=True)), pooler)
    same_tensors(type(model).from_pretrained(target).state_dict(), model.state_dict())


def test_two_tensors_for_one_place_are_an_error(tmp_path: Path, command: Command) -> None:
    saved(tmp_path / "src")
    prefix = f"{first('classification').architecture.prefix}."
    name = next(name for name in tensors_in(tmp_path / "src") if name.startswith(prefix))
    rewrite(tmp_path / "src", lambda tensors: {**tensors, name.removeprefix(prefix): tensors[name] + 1})
    done = command("convert", tmp_path / "src", tmp_path / "dst", "--allow-pickle")
    two = (name, name.removeprefix(prefix))  # the file's order says which came first
    assert done.code == 1 and sum(f"  {one} has no place" in done.err for one in two) == 1


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    """An output embedding that is not tied by the config, but lies in the file as the input embedding's alias."""
    saved(tmp_path / "src", "masked_lm", tie_word_embeddings=False)
    names = [
        name for name in tensors_in(tmp_path / "src") if name.endswith(("word_embeddings.weight", "decoder.weight"))
    ]
    changed = rewrite(
        tmp_path / "src", lambda tensors: {**tensors, **dict.fromkeys(names, tensors[names[0]])}, pickled=True
    )
    written = tensors_in(convert(tmp_path / "src", tmp_path / "dst"))
    assert len(names) == 2 and all(torch.equal(written[name], changed[name]) for name in names)


def test_a_bias_that_old_files_lack_is_zero(tmp_path: Path) -> None:
    saved(tmp_path / "src", "seq2seq_lm")
    rewrite(tmp_path / "src", lambda tensors: {n: t for n, t in tensors.items() if n != "final_logits_bias"})
    assert not tensors_in(convert(tmp_path / "src", tmp_path / "dst"))["final_logits_bias"].any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_weights_and_head_have_the_dtype_that_is_asked_for(dtype: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "src")
    target = convert(tmp_path / "src", tmp_path / "dst", "--dtype", dtype)
    kind = getattr(torch, dtype)
    assert {tensor.dtype for tensor in tensors_in(target).values()} == {kind}
    again = type(model).from_pretrained(target, dtype="auto")
    assert again.dtype == kind
    same_tensors(again.state_dict(), {name: tensor.to(kind) for name, tensor in model.state_dict().items()})
    head = adapterzoo.AutoAdapterModel.from_pretrained(target, dtype="auto").heads["default"]
    assert {parameter.dtype for parameter in head.parameters()} == {kind}


def test_every_tensor_keeps_its_own_dtype_if_none_is_asked_for(tmp_path: Path) -> None:
    saved(tmp_path / "src")
    mixed = rewrite(
        tmp_path / "src",
        lambda tensors: {n: t if "norm" in n.lower() else t.to(torch.bfloat16) for n, t in tensors.items()},
    )
    target = convert(tmp_path / "src", tmp_path / "dst")
    assert len({tensor.dtype for tensor in mixed.values()}) == 2
    same_tensors(tensors_in(target), mixed)
    assert adapterzoo.AutoConfig.from_pretrained(target).dtype == "float32"  # what holds them all without loss


@pytest.mark.parametrize("name", COPIED)
def test_files_of_tokenizer_and_generation_are_copied_as_they_are(name: str, tmp_path: Path) -> None:
    saved(tmp_path / "src")
    (tmp_path / "src" / name).write_bytes(b"\xff whatever \r\n")
    (tmp_path / "src" / "training_args.bin").write_bytes(b"no business of ours")
    target = convert(tmp_path / "src", tmp_path / "dst")
    assert (target / name).read_bytes() == b"\xff whatever \r\n"
    assert not (target / "training_args.bin").exists()


@pytest.mark.parametrize("architecture", NAMES)
@pytest.mark.parametrize("flexible", [True, False])
def test_a_saved_model_keeps_its_adapters_heads_and_what_was_active(
    architecture: str, flexible: bool, tmp_path: Path
) -> None:
    model = tiny_model(architecture, "AdapterModel" if flexible else ARCHITECTURES[architecture].statics[0])
    add_random(model, "lora")
    add_random(model, "en.wiki", "seq_bn")
    if flexible:
        model.add_classification_head("default", num_labels=5)
        model.add_classification_head("a/b")
    model.set_active_adapters("lora")
    model.save_pretrained(tmp_path / "src")
    target = convert(tmp_path / "src", tmp_path / "dst")
    again = type(model).from_pretrained(target)
    same_tensors(again.state_dict(), model.state_dict())
    assert (list(again.adapters), again.active_adapters) == (list(model.adapters), model.active_adapters)
    assert getattr(again, "active_head", None) == getattr(model, "active_head", None)
    ids = torch.randint(3, 60, (2, 6))
    ids[:, -1] = model.config.eos_token_id or 3
    with torch.no_grad():
        assert_same(again(ids), model(ids))


def test_the_weights_decide_and_not_the_head_beside_them(tmp_path: Path) -> None:
    """A class with a fixed head, trained on and saved in place, does not know of `heads/default`: that is a copy."""
    saved(tmp_path / "src")
    target = convert(tmp_path / "src", tmp_path / "dst")
    model = adapterzoo.AutoModelForSequenceClassification.from_pretrained(target)
    with torch.no_grad():
        model.head[-1].weight.add_(1)
    model.save_pretrained(target)
    flexible = adapterzoo.AutoAdapterModel.from_pretrained(target)
    assert list(flexible.heads) == ["default"]
    assert torch.equal(flexible.heads["default"][-1].weight, model.head[-1].weight)
