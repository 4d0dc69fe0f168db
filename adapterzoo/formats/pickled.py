"""PyTorch's own files, in pickle's format, read by another process with bounded memory: a bad one harms nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.formats.lazy import Lazy
from adapterzoo.formats.unpickling import FACTS, REFUSED, TENSORS, Wanted
from adapterzoo.store import FileError, TensorFile

READER = "adapterzoo.formats.unpickling"
LEAST, SPEED = 120, 10_000_000
"""Seconds that reading may take whatever the size, and bytes that each further second must bring."""


class Pickled(NamedTuple):
    """What a PyTorch file holds.

    Attributes:
        tensors: by their keys, joined by dots where dicts lie in dicts. They are mapped; tensors that share all of
            their memory in the file are the same one.
        facts: the rest of it, as JSON has it: dicts, lists, numbers, strings; a Namespace is a dict. Other things are
            left out, in lists None.
    """

    tensors: Mapping[str, Tensor]
    facts: dict[str, Any]


def read_pickled(
    path: Path, folder: Path, parts: Sequence[str] | None = None, seconds: float | None = None, kept: bool = True
) -> Pickled:
    """Read a PyTorch file in a process of its own, of which no code in the file gets hold.

    What comes out is written to `folder`, tensor by tensor: neither process ever holds all of them in memory.

    Args:
        path: the file, of either of PyTorch's kinds.
        folder: an empty folder, in which the tensors lie as long as they are used; nothing else may be written there.
        parts: which of the outermost keys to read, "model" and such; all if None.
        seconds: how long it may take; by the file's size if None.
        kept: whether a tensor that was looked at stays mapped; if not, each look maps it anew.

    Raises:
        FileNotFoundError: there is no such file.
        FileError: it is cut short, holds other things than tensors and plain data, or would take too much memory, room
            or time.
    """
    _read([path], [folder], Wanted(parts), seconds)
    return result(folder, kept)


def as_safetensors(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Turn PyTorch files, which hold tensors by name and nothing else, into safetensors files with all of their names.

    They are read as by `read_pickled`, by one process one after the other.

    Args:
        paths: the files.
        folder: an empty folder, in which the new ones lie afterwards.

    Raises:
        FileError: one cannot be read, or holds something else.
    """
    folders = [folder / str(number) for number in range(len(paths))]
    for inner in folders:
        inner.mkdir()
    _read(paths, folders, Wanted(twins=True), None)
    for path, inner in zip(paths, folders, strict=True):
        facts = _told(inner)["facts"]
        if facts:
            raise FileError(f"{path} holds something else than tensors by name: {', '.join(sorted(facts))}")
    return [inner / TENSORS for inner in folders]


def _read(paths: Sequence[Path], folders: Sequence[Path], wanted: Wanted, seconds: float | None) -> None:
    """Let the other process write what it finds in each file to that file's folder."""
    for path in paths:
        if not os.path.isfile(path):  # a pipe, say, from which nothing might ever come
            raise FileError(f"{path} is no file") if path.exists() else FileNotFoundError(f"there is no file {path}")
    wait = LEAST + sum(path.stat().st_size for path in paths) / SPEED if seconds is None else seconds
    words = [json.dumps(wanted)]
    for path, folder in zip(paths, folders, strict=True):
        words += [str(path.resolve()), str(folder.resolve())]
    with tempfile.TemporaryDirectory() as nowhere:  # `-m` looks for modules there first, and it is empty
        try:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", READER, *words],
                cwd=nowhere,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=wait,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FileError(f"{', '.join(map(str, paths))} could not be read within {wait:.0f} seconds") from error
    if done.returncode != 0:
        begun = int((done.stdout.split() or [b"0"])[-1])
        raise FileError(f"{paths[begun]} {_reason(done.returncode, done.stderr.decode(errors='replace'))}")


def _environment() -> dict[str, str]:
    """This process's environment, with the modules that it finds, and no more than one thread."""
    found = [os.path.abspath(place) for place in sys.path if place]
    package = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*found, package]), "OMP_NUM_THREADS": "1"}


def _reason(code: int, told: str) -> str:
    """Why the process did not end well, in words that follow the file's name."""
    last = next((line for line in reversed(told.splitlines()) if line.strip()), "nothing was told")
    if code == REFUSED:
        return last
    if code < 0:
        return f"could not be read: the process that did was ended by {_name(-code)}; it may want too much memory"
    return f"could not be read: the process that did failed with {code}: {last}"


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def result(folder: Path, kept: bool = True) -> Pickled:
    """What the process wrote into a folder.

    Args:
        folder: the folder.
        kept: see `read_pickled`.

    Raises:
        FileError: the tensors' file is not whole.
    """
    file, told = TensorFile(folder / TENSORS, kept), _told(folder)
    places = {**{name: name for name in file}, **told["aliases"]}
    tensors = Lazy({name: partial(file.__getitem__, place) for name, place in places.items()})
    return Pickled(dict(tensors) if kept else tensors, told["facts"])


def _told(folder: Path) -> dict[str, Any]:
    """What the process wrote of what is no tensor."""
    told: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return told
