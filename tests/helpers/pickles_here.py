"""PyTorch's files read in this process, for tests of what else becomes of them: a process of its own takes seconds."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from adapterzoo.formats import unpickling
from adapterzoo.formats.pickled import Pickled, result


def read_here(path: Path, folder: Path, parts: Sequence[str] | None = None) -> Pickled:
    """As `read_pickled`."""
    with torch.serialization.safe_globals([Namespace]):
        unpickling.extract(path, folder, None if parts is None else tuple(parts))
    return result(folder)


def read_shards_here(paths: Sequence[Path], folder: Path) -> list[Pickled]:
    """As `read_shards`."""
    folders = [folder / str(number) for number in range(len(paths))]
    for inner in folders:
        inner.mkdir()
    return [read_here(path, inner) for path, inner in zip(paths, folders, strict=True)]


@pytest.fixture
def pickles_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands read pickles in this process."""
    monkeypatch.setattr("adapterzoo.conversion.sources.read_shards", read_shards_here)
    monkeypatch.setattr("adapterzoo.formats.fairseq.checkpoint.read_pickled", read_here)
