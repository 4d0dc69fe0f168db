"""The code in docs/merging.md runs as it stands, and its table has every strategy."""

from __future__ import annotations

import re

import torch

from adapterzoo import Stack
from adapterzoo.combining import STRATEGIES
from tests.helpers.adapting import add_random
from tests.helpers.batches import batch_for
from tests.helpers.real import ROOT
from tests.helpers.tiny import tiny_model

TEXT = (ROOT / "docs" / "merging.md").read_text(encoding="utf-8")


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = tiny_model("bert")
    model.add_classification_head("head")
    for name in ("en", "mrpc", "a", "b"):
        add_random(model, name, "lora")
    merging, unloading, combining, managing = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names = {"torch": torch, "Stack": Stack, "model": model.eval(), "batch": batch_for(model)}
    for part in (merging, combining, managing, unloading):
        exec(part, names)
    assert "mrpc-a" in capsys.readouterr().out
    assert names["plain"] is model and not model.has_adapters()
    assert (tmp_path / "plain" / "model.safetensors").is_file()


def test_every_strategy_is_in_the_table():
    table = TEXT[TEXT.index("| `combine_strategy`") : TEXT.index("Configs must agree")]
    said = {name for row in table.strip().splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert said == set(STRATEGIES)
