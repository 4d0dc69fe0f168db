"""The inputs: which change of which file it is, told by a number."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.helpers.fuzz import on_json, on_tensors
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
        if share < 0.75 and path.suffix in (".safetensors", ".bin"):
            return f"{path.name}: {_tensors(path, chance)}"
    except Exception:
        pass  # what an earlier step has left is no such file any more, or the change makes no sense for it
    if path.is_file():
        kind = chance.choice(ON_BYTES)
        path.write_bytes(kind(path.read_bytes(), chance))
        return f"{kind.__name__} {path.name}"
    return f"nothing {path.name}"


def _tensors(path: Path, chance: Random) -> str:
    if path.suffix == ".bin" and chance.random() < 0.3:
        return on_tensors.strange(path, chance)
    if path.suffix == ".safetensors" and chance.random() < 0.3:
        return on_tensors.header(path, chance)
    return on_tensors.mutate(path, chance)


def _neutral(folder: Path, chance: Random) -> str:
    path = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    if path.suffix == ".json" and path.name not in ("vocab.json", "tokenizer.json"):
        path.write_text(on_json.same_meaning(path.read_text(), chance), encoding="utf-8")
    elif path.suffix in (".safetensors", ".bin"):
        on_tensors.same_tensors(path, chance)
    else:
        (folder / "README.md").write_text("# Nothing")
    return f"the same in {path.name}"
