"""`verify --against` with the peer in this process, which has imported it already: one of its own takes seconds."""

from __future__ import annotations

import runpy
import subprocess
import sys
from typing import Any

import pytest


def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m module argument …` here; of an error, stderr has the last line."""
    assert words[:2] == [sys.executable, "-m"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words[2:])
        try:
            runpy.run_module(words[2], run_name="__main__")
        except Exception as error:
            return subprocess.CompletedProcess(words, 1, "", f"{type(error).__name__}: {error}")
    return subprocess.CompletedProcess(words, 0, "", "")


@pytest.fixture
def peers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers are run in this process."""
    monkeypatch.setattr("weights_conversion.verify_command.subprocess.run", run)
