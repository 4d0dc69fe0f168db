"""Converting takes little memory, however large the checkpoint: no more than 0.3 of its size and 300 MB."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

import adapterzoo
from adapterzoo import formats
from adapterzoo.formats.tensorflow import TABLE, slashed
from tests.helpers import fairseq_files, tensorflow_files
from tests.helpers.converting import peak_of

# The peak of the process and of the one that it starts. What getrusage tells of the process itself may be its parent's.
MEASURED = """
import json, re, resource, sys
from weights_conversion.cli import main
assert main(sys.argv[1:]) == 0
own = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(json.dumps([own * 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux alone")

CONFIG = {"vocab_size": 50_000, "hidden_size": 1024, "intermediate_size": 4096}
CONFIG |= {"num_hidden_layers": 1, "num_attention_heads": 16, "max_position_embeddings": 512}
"""A model of some 260 MB, of which one tensor has the most: more than the rule leaves room for."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of that size, none of it zero pages."""
    folder = tmp_path_factory.mktemp("large")
    adapterzoo.BertModel.from_config(adapterzoo.BertConfig(**CONFIG)).save_pretrained(folder)
    return folder


def pickled(large: Path, folder: Path, **options: Any) -> None:
    """The same as PyTorch writes it."""
    torch.save(load_file(large / "model.safetensors"), folder / "pytorch_model.bin", **options)
    (folder / "config.json").write_text((large / "config.json").read_text())


def sharded(large: Path, folder: Path) -> None:
    """The same in PyTorch's files, with an index."""
    formats.write(formats.read(large), folder, shard_size=50_000_000)
    for path in folder.glob("*.safetensors"):
        torch.save(load_file(path), path.with_suffix(".bin"))
        path.unlink()
    index = folder / "model.safetensors.index.json"
    (folder / "pytorch_model.bin.index.json").write_text(index.read_text().replace(".safetensors", ".bin"))
    index.unlink()


def fairseq(large: Path, folder: Path, **options: Any) -> None:
    """A RoBERTa of fairseq's that is as large."""
    sizes = fairseq_files.Sizes(1024, 4096, 16, 1, CONFIG["vocab_size"], 512)
    fairseq_files.save(folder, fairseq_files.tiny_roberta(False, True, sizes=sizes), **options)


def tensorflow(large: Path, folder: Path) -> None:
    """The same as Google's programs write it."""
    tensors = {}
    for name, tensor in load_file(large / "model.safetensors").items():
        (theirs,) = TABLE.to_theirs(f"bert.{name}") or ()
        tensors[slashed(theirs)] = tensor.t() if theirs.endswith(".kernel") else tensor
    tensorflow_files.written(folder, tensors)
    (folder / "bert_config.json").write_text(json.dumps(CONFIG))


class Case(NamedTuple):
    """A source that is as large, and with which options it is converted.

    Attributes:
        save: writes it to a folder, given the one of the BERT; None where it is that one.
        words: the options.
    """

    save: Callable[[Path, Path], object] | None
    words: tuple[str, ...] = ("--allow-pickle",)


QUICK = {
    "safetensors": Case(None, ()),
    "in bfloat16": Case(None, ("--dtype", "bfloat16")),
    "in shards": Case(None, ("--shard-size", "50MB")),
    "pickle": Case(pickled),
}
SLOW = {
    "pickle, old": Case(lambda large, folder: pickled(large, folder, _use_new_zipfile_serialization=False)),
    "pickles in shards": Case(sharded),
    "fairseq": Case(fairseq),
    "fairseq, old": Case(lambda large, folder: fairseq(large, folder, legacy=True)),
    "TensorFlow": Case(tensorflow, ()),
}
CASES = [pytest.param(case, id=name) for name, case in QUICK.items()]
CASES += [pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in SLOW.items()]


@pytest.mark.parametrize("case", CASES)
def test_the_peak_stays_low(case: Case, large: Path, tmp_path: Path) -> None:
    source = large
    if case.save is not None:
        source = tmp_path / "src"
        source.mkdir()
        case.save(large, source)
    size = sum(path.stat().st_size for path in source.iterdir())
    assert size > 250e6
    peak = peak_of(MEASURED, "convert", str(source), str(tmp_path / "dst"), "-q", *case.words)
    assert peak < 0.3 * size + 300e6, f"{peak / 1e6:.0f} MB for a checkpoint of {size / 1e6:.0f} MB"


def test_looking_at_all_values_takes_little(large: Path) -> None:
    size = (large / "model.safetensors").stat().st_size
    peak = peak_of(MEASURED, "inspect", str(large))
    assert peak < 0.3 * size + 300e6, f"{peak / 1e6:.0f} MB for a checkpoint of {size / 1e6:.0f} MB"
