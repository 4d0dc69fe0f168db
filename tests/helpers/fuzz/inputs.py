"""The inputs: which change of which file it is, told by a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.helpers.fuzz import on_bundles, on_json, on_pickles, on_tensors
from tests.helpers.fuzz.on_bytes import ON_BYTES, ON_FOLDERS


class Made(NamedTuple):
    """What was done to a folder.

    Attributes:
        what: in words.
        neutral: whether it means the same as before.
    """

    what: str
    neutral: bool = False


def make(folder: Path, seed: str) -> Made:
    """Change a folder's files by one step or a few, always the same for a seed."""
    chance = Random(seed)
    if chance.random() < 0.05:
        return Made(_neutral(folder, chance), True)
    steps = chance.choice((1, 1, 1, 1, 2, 3))
    done: list[str] = []
    for _ in range(steps):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            done.append(_one(files, chance))
    return Made("; ".join(done))


def _one(files: list[Path], chance: Random) -> str:
    path, share = chance.choice(files), chance.random()
    try:
        if share < 0.08:
            change = chance.choice(ON_FOLDERS)
            change(path, files, chance)
            return f"{change.__name__} {path.name}"
        if share < 0.75 and path.suffix == ".json":
            path.write_text(on_json.mutate(path.read_text(), chance))
            return f"json {path.name}"
        if share < 0.75 and path.suffix in CHANGES:
            return f"{path.name}: {CHANGES[path.suffix](path, chance)}"
    except Exception:
        pass  # what an earlier step has left is no such file any more, or the change makes no sense for it
    if path.is_file():
        kind = chance.choice(ON_BYTES)
        path.write_bytes(kind(path.read_bytes(), chance))
        return f"{kind.__name__} {path.name}"
    return f"nothing {path.name}"


def _safetensors(path: Path, chance: Random) -> str:
    return (on_tensors.header if chance.random() < 0.3 else on_tensors.mutate)(path, chance)


def _pickle(path: Path, chance: Random) -> str:
    kinds = (on_tensors.strange, on_pickles.repacked, on_tensors.mutate, on_tensors.mutate)
    return chance.choice(kinds)(path, chance)


CHANGES: dict[str, Callable[[Path, Random], str]] = {
    ".safetensors": _safetensors,
    ".bin": _pickle,
    ".pt": on_pickles.mutate,
    ".index": on_bundles.mutate,
}
"""What is done to files that are still of their format afterwards, by the ends of their names."""


def _neutral(folder: Path, chance: Random) -> str:
    path = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    if path.suffix == ".json" and path.name not in ("vocab.json", "tokenizer.json"):
        path.write_text(on_json.same_meaning(path.read_text(), chance), encoding="utf-8")
    elif path.suffix in (".safetensors", ".bin"):
        on_tensors.same_tensors(path, chance)
    elif path.suffix == ".pt":
        on_pickles.same(path, chance)
    else:
        (folder / "README.md").write_text("# Nothing")
    return f"the same in {path.name}"
