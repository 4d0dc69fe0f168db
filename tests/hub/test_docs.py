"""The code in docs/hub.md runs as it stands."""

from __future__ import annotations

import re

from adapterzoo import AutoAdapterModel
from tests.helpers.hub_repos import WRITER, Repository
from tests.helpers.real import ROOT

TEXT = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")


def test_the_guides_code_runs(hub, ask, folder, tmp_path):
    model = AutoAdapterModel.from_pretrained(folder)
    model.rename_adapter("mrpc", "mood")
    model.save_pretrained(tmp_path / "model")
    model.save_adapter(tmp_path / "adapter", "mood")
    hub.repositories["org/model"] = Repository()
    hub.repositories["org/model"].add_folder("v1", tmp_path / "model")
    hub.repositories["org/model"].add("main", {"vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"})
    hub.repositories["me/mood"] = Repository()
    hub.repositories["me/mood"].add_folder("dev", tmp_path / "adapter")
    codes = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(codes) == 3
    calls = {code: {"do": "run_code", "model": str(tmp_path / "model"), "code": code} for code in codes}
    for told in ask(calls, HF_TOKEN=WRITER).values():
        assert "result" in told, told
    assert set(hub.repositories) == {"org/model", "me/mood", "me/setup"}
