"""`inspect` tells the truth: every tensor once, and each is the one that it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo import pretrained
from tests.helpers.converting import (
    Command,
    accounted,
    command,
    edit_config,
    facts,
    first,
    rewrite,
    same_as_said,
    saved,
    tensors_in,
)
from tests.helpers.hf_models import CASES, Case, each, peer

__all__ = ["command"]  # a fixture


@each(CASES)
def test_every_tensor_of_a_model_is_told_once_and_is_what_it_is_said_to_be(
    case: Case, tmp_path: Path, command: Command
) -> None:
    source = peer(case)
    source.save_pretrained(tmp_path)
    told, tensors = facts(command, tmp_path), tensors_in(tmp_path)
    assert accounted(told) == sorted(tensors)
    model = case.ours.from_pretrained(tmp_path)
    tied = {f"head.{name}" for head in model.heads_of().values() for name in head.tied}
    same_as_said(told, tensors, {name: value for name, value in model.state_dict().items() if name not in tied})
    assert (told["missing"], told["problems"], told["unexpected"]) == ([], [], [])


@each(CASES)
def test_the_numbers_are_the_models(case: Case, tmp_path: Path, command: Command) -> None:
    source = peer(case)
    source.save_pretrained(tmp_path)
    told, config = facts(command, tmp_path), source.config
    assert (told["kind"], told["architecture"], told["class"]) == ("model", config.model_type, case.name)
    own = {value.data_ptr(): value.numel() for name, value in source.state_dict().items()}
    assert told["parameters"] == sum(own.values())
    assert told["dtypes"] == {"float32": len(told["tensors"])}
    sizes = told["sizes"]
    assert (sizes["width"], sizes["vocabulary"]) == (config.hidden_size, config.vocab_size)
    assert sizes["positions"] == config.max_position_embeddings
    assert sum(sizes["layers"].values()) == len({name for name in map(layer_of, source.state_dict()) if name})
    assert (told["head"] or {}).get("type") == case.head_type
    labelled = (told["head"] or {}).get("labels")
    assert labelled in (None, config.num_labels)


def layer_of(name: str) -> str | None:
    found = re.match(r".*\.layers?\.\d+\.", name)
    return found[0] if found else None


@each([case for case in CASES if case.head_type in ("pretraining", "seq2seq_lm")])
def test_no_weight_is_made_to_look_into_a_model(
    case: Case, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer(case).save_pretrained(tmp_path)

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("weights were made")

    monkeypatch.setattr(pretrained, "initialise_missing", refuse)
    for place in (torch.nn.init, torch.Tensor):
        monkeypatch.setattr(place, "normal_", meta_only(place.normal_))
    assert facts(command, tmp_path)["class"] == case.name


def meta_only(fill: Any) -> Any:
    def run(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        assert tensor.is_meta, "weights were made"
        return fill(tensor, *args, **options)

    return run


def test_what_is_missing_unexpected_unused_or_without_place_is_listed(tmp_path: Path, command: Command) -> None:
    model, case = saved(tmp_path, "tagging"), first("tagging")
    prefix = case.architecture.prefix
    more = ["extra.weight", f"{prefix}.embeddings.position_ids", f"{prefix}.pooler.dense.weight"]
    rewrite(
        tmp_path,
        lambda tensors: (
            {n: t for n, t in tensors.items() if n != "classifier.bias"} | dict.fromkeys(more, torch.ones(1))
        ),
    )
    done = command("inspect", tmp_path, "--allow-pickle")
    assert done.code == 1 and "classifier.bias is not there" in done.out
    told = [
        ("unexpected", "extra.weight"),
        ("unused", more[1]),
        ("without place", more[2]),
        ("missing", "head.1.bias"),
    ]
    for what, name in told:
        assert re.search(rf"^{what} \(.*\):\n  {re.escape(name)}$", done.out, re.MULTILINE), what
    assert type(model).__name__ in done.out


def test_a_class_that_config_json_names_wrongly_is_told(tmp_path: Path, command: Command) -> None:
    saved(tmp_path, None)
    edit_config(tmp_path, architectures=["MyOwnModel"])
    told = facts(command, tmp_path)
    assert (told["stated_class"], told["class"]) == ("MyOwnModel", first(None).name)
    assert "config.json says MyOwnModel" in command("inspect", tmp_path).out


def expanded(line: str) -> list[str]:
    """A line of the table for each layer that it stands for."""
    span = re.search(r"\{([\d,-]+)\}", line)
    if span is None:
        return [line]
    numbers: list[int] = []
    for run in span[1].split(","):
        low, _, high = run.partition("-")
        numbers += range(int(low), int(high or low) + 1)
    return [line.replace(span[0], str(number)) for number in numbers]


def table(out: str) -> list[list[str]]:
    lines = out.split("\n\n")[1].splitlines()
    assert lines[0].split() == ["their", "tensor", "shape", "our", "tensor"]
    return sorted(row.split(maxsplit=2) for line in lines[1:] for row in expanded(line))


@each([case for case in CASES if case.head_type in ("pretraining", "seq2seq_lm", "classification")])
def test_lines_for_several_layers_stand_for_the_same_as_a_line_each(
    case: Case, tmp_path: Path, command: Command
) -> None:
    peer(case).save_pretrained(tmp_path)
    short, long = command("inspect", tmp_path).out, command("inspect", tmp_path, "--all").out
    assert table(short) == table(long)
    rows = facts(command, tmp_path)["tensors"]
    assert [row[0] for row in table(long)] == sorted(row["theirs"] for row in rows)
    assert len(short) < len(long)
    assert sum("[1 of " in line for line in long.splitlines()) == sum(row["part"] == 1 for row in rows) > 0
