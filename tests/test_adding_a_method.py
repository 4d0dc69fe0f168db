"""The guide to adding a method is true: its file, in a copy of the package, passes the suite that all methods pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")

SOME = ("laws/test_05_saving.py", "laws/test_13_zero_start.py", "laws/test_07_merging.py", "laws/test_03_rows.py")
"""What shows in a minute that the registry brings the method's tests: files, start, merging, rows."""


@pytest.fixture(scope="module")
def code() -> str:
    """The file that the guide writes."""
    (found,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def copied(code: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its tests, with the guide's file in it."""
    place = tmp_path_factory.mktemp("copy")
    for folder in ("adapterzoo", "weights_conversion", "tests"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    (name,) = re.findall(r"`adapterzoo/methods/(\w+\.py)`:", TEXT)
    (place / "adapterzoo" / "methods" / name).write_text(code, encoding="utf-8")
    return place


def run(copied: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copied), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copied, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def passed(report: str) -> int:
    """How many tests passed, as pytest's last line says."""
    return int(re.findall(r"(\d+) passed", report)[-1])


def test_some_of_the_suite_takes_the_method_up_and_passes(copied: Path) -> None:
    files = [f"tests/{file}" for file in SOME]
    report = run(copied, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", "-k", "red] or -red", *files)
    assert passed(report) > 20


@pytest.mark.slow
def test_the_whole_of_the_laws_takes_the_method_up_and_passes(copied: Path) -> None:
    report = run(copied, "-m", "pytest", "-p", "no:cacheprovider", "-k", "red] or -red", "tests/laws")
    assert passed(report) > 100


def test_it_is_as_small_as_the_guide_says(copied: Path) -> None:
    script = """
import torch
from adapterzoo import BertConfig, BertModel
model = BertModel(BertConfig(vocab_size=30))
model.add_adapter("red", "red")
model.add_adapter("lora", "lora")
print(*(sum(p.numel() for p in model.adapters[name].parameters()) for name in ("red", "lora")))
"""
    count, lora = map(int, run(copied, "-c", script).split())
    assert f"{count:,} parameters" in TEXT
    assert lora == 16 * count
    assert "a sixteenth of a LoRA's" in TEXT.replace("\n", " ")


def test_the_file_is_as_short_as_the_guide_promises(code: str) -> None:
    assert code.count("\n") < 60


def test_what_the_guide_speaks_of_is_there() -> None:
    for path in re.findall(r"`((?:nn|core|archs|methods)/\w+\.py)`", TEXT):
        assert (ROOT / "adapterzoo" / path).exists(), path
