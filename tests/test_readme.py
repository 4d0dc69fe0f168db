"""The README is true: its tables are what there is, its code runs, its folders are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.tables import README, TABLES, filled

TEXT = README.read_text(encoding="utf-8")
ROOT = README.parent


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_the_tables_are_what_the_registries_hold(path: Path) -> None:
    assert filled(path) == path.read_text(encoding="utf-8"), "run `make stubs`"


@pytest.mark.parametrize("folder", re.findall(r"^\| `([\w/]+)` \|", TEXT, re.MULTILINE)[-15:])
def test_the_folders_of_the_tree_are_there(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def test_every_folder_is_in_the_tree() -> None:
    there = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    there |= {f"adapterzoo/{path.parent.name}" for path in ROOT.glob("adapterzoo/*/*.py")}
    assert there - set(re.findall(r"^\| `([\w/]+)` \|", TEXT, re.MULTILINE)) == set()


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / link).exists(), link


def hub_cache(home: Path, repository: str, folder: Path) -> None:
    """A Hub cache in which `repository` is already downloaded."""
    root = home / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    (root / "snapshots").mkdir()
    (root / "snapshots" / ("0" * 40)).symlink_to(folder, target_is_directory=True)


def test_the_code_runs_as_it_stands(minilm_dir: Path, tmp_path: Path) -> None:
    first, second = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[:2]
    repository = re.search(r'checkpoint = "([^"]+)"', first)
    assert repository is not None
    hub_cache(tmp_path / "home", repository[1], minilm_dir)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", first + second],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[0] == "['good', 'bad', 'good', 'bad']"
