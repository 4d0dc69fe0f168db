"""Changes to PyTorch's files: to what they hold beside tensors by name, and to what their pickles say."""

from __future__ import annotations

import io
import zipfile
from argparse import Namespace
from pathlib import Path
from random import Random
from typing import Any

import torch

from tests.helpers.fuzz import on_json, on_tensors
from tests.helpers.fuzz.on_bytes import ON_BYTES


def load(path: Path) -> Any:
    """What a PyTorch file holds."""
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)


def is_zipped(path: Path) -> bool:
    """Whether a PyTorch file is of the newer kind."""
    return zipfile.is_zipfile(path)


def mutate(path: Path, chance: Random) -> str:
    """Change an entry anywhere in what a file holds, a tensor of the model, or the pickle."""
    if is_zipped(path) and chance.random() < 0.4:
        return repacked(path, chance)
    found, zipped = load(path), is_zipped(path)
    if chance.random() < 0.5:
        tensors = found["model"]
        change, name = chance.choice(on_tensors.ON_TENSORS), chance.choice(list(tensors))
        change(tensors, name, chance)
        what = f"{change.__name__} {name[:60]}"
    else:
        args = {key: value for key, value in found.items() if isinstance(value, Namespace)}
        found |= {key: vars(value) for key, value in args.items()}
        other = chance.choice(on_json.ON_JSON)
        found = other(found, chance)
        if isinstance(found, dict):
            found |= {key: Namespace(**found[key]) for key in args if isinstance(found.get(key), dict)}
        what = f"entry {other.__name__}"
    torch.save(found, path, _use_new_zipfile_serialization=zipped)
    return what


def repacked(path: Path, chance: Random) -> str:
    """The same zip file with a part changed, and its checksum with it, so that nobody sees it by that."""
    with zipfile.ZipFile(path) as archive:
        parts = {one.filename: archive.read(one) for one in archive.infolist()}
    pickled = [name for name in parts if name.endswith("data.pkl")]
    name, kind = chance.choice((*pickled, *pickled, chance.choice(list(parts)))), chance.choice(ON_BYTES)
    parts[name] = kind(parts[name], chance)
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return f"repacked {kind.__name__} {name[-40:]}"


def same(path: Path, chance: Random) -> None:
    """The same in a file of either kind."""
    torch.save(load(path), path, _use_new_zipfile_serialization=chance.random() < 0.5)
