"""`inspect` tells which tensors are odd, and of trained ones that none is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from adapterzoo import Fuse
from adapterzoo.conversion import odd, values
from adapterzoo.conversion.values import values_of
from adapterzoo.progress import Steps
from tests.helpers.adapting import add_random
from tests.helpers.converting import Command, command, facts, rewrite, tensors_in
from tests.helpers.fuzz.readers import furnished
from tests.helpers.tiny import NAMES, class_named, randomise, tiny_config, tiny_model

__all__ = ["command"]  # a fixture
SHARED = ("adapters", "fusions", "heads", "embeddings")


def entry(tensor: str, what: str, count: int) -> dict[str, Any]:
    return {"tensor": tensor, "what": what, "count": count}


def kinds(told: dict[str, Any]) -> dict[str, str]:
    """What is odd about each odd tensor."""
    return {one["tensor"]: one["what"] for one in told["odd"]}


# ---------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, values.PIECE // 2 + 3), (values.PIECE,)])
def test_values_come_to_what_torch_says(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = (torch.randn(shape) * 0.3 + 0.1).to(dtype)
    found, real = values_of([tensor]), tensor.double()
    assert (found.count, found.nan, found.inf) == (tensor.numel(), 0, 0)
    assert (found.low, found.high) == (float(real.min()), float(real.max()))
    assert math.isclose(found.mean, float(real.mean()), rel_tol=1e-9)
    assert math.isclose(found.deviation, float(real.std(correction=0)), rel_tol=1e-9, abs_tol=1e-12)
    assert math.isclose(found.kurtosis, float((real**4).mean() / (real**2).mean() ** 2), rel_tol=1e-9)


def test_what_is_no_number_is_counted_and_left_out() -> None:
    tensor = torch.randn(values.PIECE + 100)
    clean = tensor.clone()
    tensor[[3, 5, -1]], tensor[[7, -2]], tensor[11] = torch.nan, torch.inf, -torch.inf
    found = values_of([tensor])
    left = clean[tensor.isfinite()].double()
    assert (found.nan, found.inf, found.count) == (3, 3, len(tensor))
    assert math.isclose(found.mean, float(left.mean()), rel_tol=1e-9)
    assert found.low == float(left.min()) and found.high == float(left.max())


def test_values_of_nothing_and_of_what_lies_crosswise() -> None:
    assert not values_of([torch.empty(0, 3)]).all(0)
    assert not values_of([torch.full((3,), torch.nan)]).all(0)
    assert values_of([torch.zeros(3, 4).t()]).all(0) and values_of([torch.ones(2, 2)]).all(1)
    tensor = torch.randn(40, 30)
    assert values_of([tensor.t()]).low == values_of([tensor]).low


# ---------------------------------------------------------------------------------------------- planted


def spoil(path: Path) -> list[dict[str, Any]]:
    """Put odd values into the first tensors of a file, and return what must be told of them."""
    tensors = safetensors.torch.load_file(path)
    first, second, third = [name for name, tensor in tensors.items() if tensor.numel() > 8][:3]
    tensors[first].view(-1)[[1, 3]] = torch.nan
    tensors[first].view(-1)[4] = -torch.inf
    tensors[second].view(-1)[0] = torch.inf
    tensors[third].zero_()
    safetensors.torch.save_file(tensors, path)
    told = [entry(first, "NaN", 2), entry(first, "Inf", 1), entry(second, "Inf", 1)]
    return [*told, entry(third, "all zero", tensors[third].numel())]


def everywhere(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Some facts, and those of all that lies beside."""
    beside = [one for kind in SHARED for one in told.get(kind, ())]
    return [told, *(inner for one in beside for inner in everywhere(one))]


def by_name(told: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(tuple(one.values()) for one in told)


def test_nothing_is_odd_about_what_is_random_and_everything_that_is_planted_is_told(
    tmp_path: Path, command: Command
) -> None:
    model = furnished()
    randomise(model.fusions["b,d"])
    model.save_pretrained(tmp_path)
    told = facts(command, tmp_path)
    assert [one["odd"] for one in everywhere(told)] == [[]] * 7
    assert "\n  odd " not in command("inspect", tmp_path).out
    files = {"model": "model", "adapters/a": "adapter", "fusions/b,d": "model_adapter_fusion", "heads/a": "model_head"}
    planted = {
        folder: spoil(tmp_path / ("" if folder == "model" else folder) / f"{file}.safetensors")
        for folder, file in files.items()
    }
    told = facts(command, tmp_path)  # with exit code 0
    assert by_name(told["odd"]) == by_name(planted["model"])
    for one in everywhere(told)[1:]:
        name = Path(one["source"]).relative_to(tmp_path).as_posix()
        assert by_name(one["odd"]) == by_name(planted.get(name, [])), name
    done = command("inspect", tmp_path)
    assert done.code == 0
    for what, count in (("NaN", "2 values"), ("Inf", "1 value")):
        name = next(one["tensor"] for one in planted["model"] if one["what"] == what)
        assert re.search(rf"^  {re.escape(name)}  +{count}$", done.out, re.MULTILINE)


def test_the_head_in_an_adapters_file_of_pefts_has_its_own(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    add_random(model, "a", "lora[r=2]")
    model.add_classification_head("a", num_labels=3, layers=1, use_pooler=True)
    randomise(model.heads)
    model.save_adapter(tmp_path, "a", to="peft")
    path = tmp_path / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    lost = {name: tensor.zero_() for name, tensor in tensors.items() if "layer.1" in name or "classifier.b" in name}
    safetensors.torch.save_file(tensors, path)
    told = facts(command, tmp_path)
    assert {*kinds(told), *kinds(told["head"])} == set(lost)
    assert list(kinds(told["head"])) == ["base_model.model.classifier.bias"]


def test_without_values_nothing_is_read(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    furnished().save_pretrained(tmp_path)
    monkeypatch.setattr(odd, "values_of", None)
    assert "odd" not in facts(command, tmp_path, "--without-values")


def test_every_tensor_is_a_step_of_progress(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    furnished().save_pretrained(tmp_path)
    steps: list[str] = []
    totals: list[int] = []

    class Watched(Steps):
        def __init__(self, total: int, quiet: bool = False) -> None:
            totals.append(total)
            super().__init__(total, quiet)

        def __call__(self, what: str) -> None:
            steps.append(what)

    monkeypatch.setattr(odd, "Steps", Watched)
    facts(command, tmp_path)
    files = [path for path in tmp_path.rglob("*.safetensors")]
    names = [name for path in files for name in safetensors.torch.load_file(path)]
    assert sorted(steps) == sorted(names) and totals == [len(names)]


# ---------------------------------------------------------------------------------------------- untrained


def fresh(architecture: str, suffix: str = "AdapterModel", **changes: Any) -> Any:
    """A small model that nobody has trained."""
    return class_named(architecture, suffix)(tiny_config(architecture, **changes))


@pytest.mark.parametrize("architecture", NAMES)
def test_a_model_that_nobody_trained_is_told_tensor_by_tensor(
    architecture: str, tmp_path: Path, command: Command
) -> None:
    model = fresh(architecture)
    model.save_pretrained(tmp_path)
    told, tensors = facts(command, tmp_path), tensors_in(tmp_path)
    found = kinds(told)
    with_bias = [name for name in tensors if name.endswith("weight") and name[:-6] + "bias" in tensors]
    assert with_bias and all(found.get(name) == "untrained" for name in with_bias)
    assert all(found.get(name[:-6] + "bias") == "all zero" for name in with_bias)
    small = [name for name in tensors if name.endswith("embeddings.weight")]
    assert not set(small) & set(found)  # too few values to judge
    assert {one["count"] == tensors[one["tensor"]].numel() for one in told["odd"]} == {True}


def test_an_embedding_that_nobody_trained_is_told_by_its_distribution(tmp_path: Path, command: Command) -> None:
    model = fresh("bert", vocab_size=2000, initializer_range=0.05)
    model.save_pretrained(tmp_path)
    name = "embeddings.word_embeddings.weight"
    assert kinds(facts(command, tmp_path))[name] == "untrained"
    others: dict[str, Callable[[Tensor], Tensor]] = {
        "wider": lambda x: x * 1.05,
        "moved": lambda x: x + 0.002,
        "even": lambda x: (torch.rand_like(x) - 0.5) * 0.05 * math.sqrt(12),
        "trained": lambda x: torch.cat([x[:1000], x[1000:] * 1.3]),
    }
    for what, change in others.items():
        rewrite(tmp_path, lambda tensors, change=change: {**tensors, name: change(torch.randn(2000, 32) * 0.05)})
        assert name not in kinds(facts(command, tmp_path)), what


@pytest.mark.parametrize("config", ["seq_bn", "double_seq_bn", "lora[r=4]", "ia3", "dora", "seq_bn_inv"])
def test_an_adapter_is_told_until_it_is_trained(config: str, tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    model.add_adapter("a", config)
    model.add_classification_head("a", num_labels=2, layers=1)
    model.train_adapter("a")
    model.save_adapter(tmp_path / "new", "a")
    told = facts(command, tmp_path / "new")
    assert told["odd"] and kinds(told["head"]) == {"heads.a.1.weight": "untrained", "heads.a.1.bias": "all zero"}
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(parameters, 1e-3)
    for _ in range(2):  # LoRA's A moves after its B
        ids = torch.randint(5, 60, (8, 9))
        model(input_ids=ids, labels=torch.randint(2, (8,))).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_adapter(tmp_path / "old", "a")
    told = facts(command, tmp_path / "old")
    assert (told["odd"], told["head"]["odd"]) == ([], [])


def test_a_fusion_that_nobody_trained_is_told(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    for name in "bd":
        add_random(model, name, "seq_bn")
    model.add_adapter_fusion(Fuse("b", "d"))
    model.save_adapter_fusion(tmp_path, Fuse("b", "d"))
    found = kinds(facts(command, tmp_path))
    assert {name.rpartition("b,d.")[2]: what for name, what in found.items()} == {
        "query.weight": "untrained",
        "query.bias": "all zero",
        "key.weight": "untrained",
        "key.bias": "all zero",
        "value.weight": "untrained",
    }


@pytest.mark.parametrize(
    ("architecture", "suffix", "name", "shape"),
    [
        ("roberta", "ForMaskedLM", "roberta.embeddings.token_type_embeddings.weight", (1, 32)),
        ("bart", "ForConditionalGeneration", "final_logits_bias", (1, 60)),
    ],
)
def test_what_may_be_zero_is_not_told(
    architecture: str, suffix: str, name: str, shape: tuple[int, int], tmp_path: Path, command: Command
) -> None:
    changes = {"type_vocab_size": 1} if architecture == "roberta" else {}
    model = class_named(architecture, suffix)(tiny_config(architecture, **changes))
    randomise(model)
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, name: torch.zeros(shape)})
    assert facts(command, tmp_path)["odd"] == []


def test_a_bias_that_moved_makes_its_weight_a_trained_one(tmp_path: Path, command: Command) -> None:
    fresh("bert").save_pretrained(tmp_path)
    name = "encoder.layer.0.output.dense.bias"
    rewrite(tmp_path, lambda tensors: {**tensors, name: tensors[name] + 1e-9})
    found = kinds(facts(command, tmp_path))
    assert not {name, "encoder.layer.0.output.dense.weight"} & set(found)
    assert found["encoder.layer.1.output.dense.weight"] == "untrained"


# ---------------------------------------------------------------------------------------------- real ones


def test_real_checkpoints_raise_no_false_alarm(shared: Path, command: Command) -> None:
    for name in ("bart-g2p-gb", "peft-bartbase-lora-r8"):
        assert facts(command, shared / "checkpoints" / name)["odd"] == [], name


def test_a_published_adapter_that_was_never_trained_is_seen_through(shared: Path, command: Command) -> None:
    told = facts(command, shared / "checkpoints" / "adapterhub-bert-pfeiffer")
    assert {one["tensor"] for one in told["odd"]} == {row["theirs"] for row in told["tensors"]}
    assert told["library"] == "adapter-transformers 3.0.1"


@pytest.mark.slow
def test_larger_real_checkpoints_raise_no_false_alarm(
    minilm_dir: Path, sapiens_dir: Path, rxnfp_dir: Callable[[str], Path], command: Command
) -> None:
    sources = {rxnfp_dir(name): {} for name in ("bert_ft", "bert_ft_10k_25s", "bert_pretrained")}
    sources |= {path: {} for path in sapiens_dir.glob("*.pt")}
    for source, wanted in {**sources, minilm_dir: {"pooler.dense.bias": "all zero"}}.items():  # which it does not use
        flags = ("--model-type", "bert") if "rxnfp" in str(source) else ()
        assert kinds(facts(command, source, *flags)) == wanted, source


def test_layers_that_are_odd_alike_share_a_line(tmp_path: Path, command: Command) -> None:
    model = tiny_model("bert")
    nn.init.zeros_(model.base.encoder[0].mlp.up.bias)
    nn.init.zeros_(model.base.encoder[1].mlp.up.bias)
    model.save_pretrained(tmp_path)
    short, long = command("inspect", tmp_path).out, command("inspect", tmp_path, "--all").out
    assert "\n  encoder.layer.{0-1}.intermediate.dense.bias\n" in short
    assert "\n  encoder.layer.0.intermediate.dense.bias\n  encoder.layer.1.intermediate.dense.bias\n" in long
