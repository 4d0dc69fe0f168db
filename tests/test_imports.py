"""`import adapterzoo` brings in what it needs and nothing else, and soon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

import adapterzoo
from tests.helpers.real import ROOT

DEPENDENCIES = ("torch", "safetensors", "tokenizers", "huggingface_hub")
PEERS = {"transformers", "adapters", "peft", "accelerate"}
# Of the processor time that `import torch` takes: 0.15 s where that takes a second. The share is the same on a slow or
# busy machine, where seconds are not.
BUDGET = 0.15

LOADED = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def fresh(*statements: str, folder: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    """Run statements in a fresh interpreter, in a folder, and return what they print."""
    command = [sys.executable, "-c", "\n".join(statements)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(*statements: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after the statements."""
    return set(json.loads(fresh(*statements, LOADED)))


def plain(distribution: str) -> str:
    """Return a distribution's name as the index compares names."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def needed(distribution: str, seen: set[str]) -> set[str]:
    """Add to `seen` a distribution and all that it requires, extras aside, and return it."""
    if distribution not in seen:
        seen.add(distribution)
        try:
            rows = requires(distribution) or []
        except PackageNotFoundError:  # required on other platforms only
            rows = []
        for row in rows:
            if "extra ==" not in row:
                needed(plain(re.split(r"[\s;<>=!~\[(]", row)[0]), seen)
    return seen


@pytest.fixture(scope="module")
def modules() -> set[str]:
    return loaded("import adapterzoo")


def test_no_peer_is_imported(modules):
    assert "adapterzoo" in modules
    assert not modules & PEERS


def test_nothing_foreign_is_imported(modules):
    allowed = set(sys.stdlib_module_names) | {"adapterzoo"}
    # What the dependencies require, and what they take along unasked (numpy, say) or the environment puts in.
    closure: set[str] = set()
    for name in DEPENDENCIES:
        needed(plain(name), closure)
    allowed |= {name for name, owners in packages_distributions().items() if closure & set(map(plain, owners))}
    allowed |= loaded(
        "import torch, safetensors.torch, tokenizers",
        "from huggingface_hub import hf_hub_download, snapshot_download",
    )
    assert modules <= allowed, f"foreign: {sorted(modules - allowed)}"


def test_import_is_quick(tmp_path):
    # Both readings come from one fresh interpreter, torch's garbage collected between them: what slows one slows the
    # other. The least share counts; the first run compiles, as when a package is installed.
    shutil.copytree(ROOT / "adapterzoo", tmp_path / "adapterzoo", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = "import time, gc; start = time.process_time(); import torch; gc.collect(); middle = time.process_time()"
    end = "import adapterzoo; print(middle - start, time.process_time() - middle, adapterzoo.__file__)"
    runs = [fresh(begin, end, folder=tmp_path, environment=environment).split() for _ in range(5)]
    assert all(Path(place).is_relative_to(tmp_path) for *_, place in runs)
    times = [(float(torch), float(ours)) for torch, ours, _ in runs[1:]]
    assert min(ours / torch for torch, ours in times) < BUDGET, f"processor seconds (torch's, on top of it): {times}"


def test_every_public_name_is_there_once():
    assert adapterzoo.__all__, "nothing is public"
    assert len(set(adapterzoo.__all__)) == len(adapterzoo.__all__)
    missing = [name for name in adapterzoo.__all__ if not hasattr(adapterzoo, name)]
    assert not missing
