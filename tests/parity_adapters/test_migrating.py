"""Code for adapters runs when its import is changed; and the code in docs/migrating.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.peer_adapters import adapters
from tests.helpers.real import ROOT

TEXT = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")

THEIRS = "from adapters import *\nfrom adapters.composition import Average\nfrom transformers import BertConfig\n"
OURS = "from adapterzoo import *\nfrom adapterzoo.composition import Average\n"
SCRIPT = """
torch.manual_seed(0)
model = BertAdapterModel(
    BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
)
for name, config in {
    "en": SeqBnInvConfig(), "a": "seq_bn", "twin": "seq_bn", "b": SeqBnConfig(reduction_factor=8),
    "low": LoRAConfig(r=4, alpha=8),
    "pre": PrefixTuningConfig(flat=True), "all": "mam", "both": ConfigUnion(LoRAConfig(), SeqBnConfig()),
    "text": "prefix_tuning[prefix_length=5]|par_bn[reduction_factor=4]",
}.items():
    model.add_adapter(name, config=config)
model.add_classification_head("a", num_labels=3)
model.add_tagging_head("b", num_labels=4)
ids = torch.arange(5, 29).view(4, 6)
seen = []
for setup in ("a", "both", Stack("en", "a"), Parallel("a", "b"), BatchSplit("a", "b", batch_sizes=[1, 3])):
    model.train_adapter(setup)
    model.active_adapters = setup
    out = model(ids, head="a", labels=None) if isinstance(setup, str) else model(ids)
    seen.append(type(out).__name__)
model.add_adapter_fusion(Fuse("a", "b"), "dynamic")
model.train_adapter_fusion(Fuse("a", "b"))
model.average_adapter("mean", ["a", "twin"], weights=[1, 3])
model.train_adapter("low")
model.active_head = "a"
model(ids, head="a", labels=torch.tensor([0, 1, 2, 0])).loss.backward()
model.eval()
model.merge_adapter("low")
model.reset_adapter()
model.save_adapter("low-adapter", "low", use_safetensors=True)
model.save_adapter_setup("setup", Stack("en", Fuse("a", "b")), head_setup="a", use_safetensors=True)
model.delete_adapter("low")
seen.append(model.load_adapter("low-adapter", load_as="again", set_active=True, use_safetensors=True))
with AdapterSetup(Stack("en", "a"), head_setup="a"):
    seen.append(tuple(model(ids).logits.shape))
model.set_active_adapters("a", skip_layers=[0])
seen += [str(model.active_adapters), sorted(model.heads)]
seen += [row["#param"] for row in model.adapter_summary(as_dict=True)][:10]  # the adapters
"""


def ran(imports: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the script saw, in a folder of its own."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"torch": torch}
    exec(imports + SCRIPT, names)
    return list(names["seen"])


def test_a_script_runs_under_either_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters()
    assert ran(OURS, tmp_path / "ours", monkeypatch) == ran(THEIRS, tmp_path / "theirs", monkeypatch)


def test_the_guides_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for part in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(part, {})
    assert (tmp_path / "my-adapter" / "adapter_config.json").is_file()
