"""The code in docs/heads.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from adapterzoo import AutoAdapterModel
from tests.helpers.real import ROOT
from tests.helpers.tiny import tiny_model

TEXT = (ROOT / "docs" / "heads.md").read_text(encoding="utf-8")


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"torch": torch, "model": tiny_model("bert"), "batch": {"input_ids": torch.randint(5, 60, (2, 8))}}
    *parts, alone = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(parts) == 2
    for part in parts:
        exec(part, names)
    assert torch.equal(names["output"].loss, names["output"][0].loss + names["output"][1].loss)
    assert type(names["fixed"]).__name__ == "BertForSequenceClassification"
    assert names["again"].active_head == "hf"
    monkeypatch.chdir(tmp_path)
    names |= {"model": tiny_model("bart", "ForCausalLM"), "AutoAdapterModel": AutoAdapterModel}
    exec(alone, names)
    assert type(names["flexible"]).__name__ == "BartAdapterModel" and names["flexible"].active_head == "default"
    assert type(names["fixed"]).__name__ == "BartForCausalLM"


def test_every_way_to_add_a_head_is_there() -> None:
    model = tiny_model("bert")
    known = re.findall(r"add_(\w+)_head\b", " ".join(dir(model)))
    rows = [row for row in TEXT.splitlines() if row.startswith("| `")]
    there = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(known) - {"prediction", "custom"} == there - {"multilabel"}
