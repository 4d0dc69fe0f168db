"""Converting takes little memory, however large the checkpoint: 0.3 of its size and 300 MB, beside mapped pickles."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import adapterzoo
from tests.helpers.real import ROOT

# The peak of the process and of the one that it starts. What getrusage tells of the process itself may be its parent's.
MEASURED = """
import json, re, resource, sys
from weights_conversion.cli import main
assert main(sys.argv[1:]) == 0
own = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(json.dumps([own * 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux alone")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of some 300 MB, none of it zero pages."""
    folder = tmp_path_factory.mktemp("large")
    config = adapterzoo.BertConfig(vocab_size=8192, hidden_size=1024, intermediate_size=4096, num_attention_heads=16)
    config.num_hidden_layers = 5
    adapterzoo.BertModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("words", [[], ["--dtype", "bfloat16"], ["--shard-size", "50MB"], ["--allow-pickle"]], ids=str)
def test_the_peak_stays_low(words: list[str], large: Path, tmp_path: Path) -> None:
    source = large
    size = (large / "model.safetensors").stat().st_size
    assert size > 250 << 20
    if "--allow-pickle" in words:
        source = tmp_path / "pickled"
        source.mkdir()
        (source / "config.json").write_text((large / "config.json").read_text())
        torch.save(dict(adapterzoo.formats.read(large).tensors), source / "pytorch_model.bin")
    command = [sys.executable, "-c", MEASURED, "convert", str(source), str(tmp_path / "dst"), "-q", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = max(json.loads(done.stdout))
    # A pickle is mapped as a whole, and pages of it that were looked at count until the system wants them back.
    mapped = size if "--allow-pickle" in words else 0
    assert peak < mapped + 0.3 * size + 300e6, f"{peak / 1e6:.0f} MB for a checkpoint of {size / 1e6:.0f} MB"
