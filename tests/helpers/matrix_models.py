"""What becomes of a model's files that are converted and come back: of each class, on each route.

Exact is what has the same names, shapes, dtypes and bits in all tensors, and the same config.json; to bfloat16, each
number is rounded once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from adapterzoo import AutoAdapterModel, Fuse, Stack, formats, zoo
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.conversion.convert import as_it_is
from adapterzoo.conversion.output import write
from adapterzoo.formats import Content, read
from adapterzoo.formats.lazy import cast
from tests.helpers.adapting import CONFIGS, add_all, add_random, same_bits
from tests.helpers.every_class import CLASSES, tiny_of, variants
from tests.helpers.heads import add_head, head_types
from tests.helpers.matrix import BROKEN, EXACT, REFUSED, differences, reason
from tests.helpers.tiny import class_named, tiny_model

SHARD = 20_000
"""Bytes: tiny models have several times as many."""


def _again(source: Path, target: Path, **options: Any) -> Path:
    """Convert a checkpoint, as the command line does."""
    target.mkdir()
    checkpoint = open_checkpoint(source)
    checkpoint.check(())
    write(as_it_is(checkpoint), target, options.get("dtype"), lambda step: None, options.get("shard_size"))
    return target


def _plain(source: Path, folder: Path) -> Path:
    return _again(source, folder / "again")


def pickled(source: Path, target: Path) -> Path:
    """A copy of a model's directory, its weights in PyTorch's file."""
    shutil.copytree(source, target)
    torch.save(safetensors.torch.load_file(target / "model.safetensors"), target / "pytorch_model.bin")
    (target / "model.safetensors").unlink()
    return target


def _pickled(source: Path, folder: Path) -> Path:
    formats.write(formats.read(pickled(source, folder / "bin"), allow_pickle=True), folder / "again")
    return folder / "again"


def _sharded(source: Path, folder: Path) -> Path:
    shards = _again(source, folder / "shards", shard_size=SHARD)
    assert len(list(shards.glob("model-*.safetensors"))) > 1
    return _again(shards, folder / "again")


def _flexible(source: Path, folder: Path) -> Path:
    """A fixed head to a flexible one and back; a bare model to one with flexible heads, and back."""
    first = zoo.CLASSES[read(source).config["architectures"][0]]
    made: Any = AutoAdapterModel.from_pretrained(source, convert_head=True)
    made.save_pretrained(folder / "flexible")
    if "default" in made.heads:
        made = AutoAdapterModel.from_pretrained(folder / "flexible").to_static("default", first.__name__)
    else:
        made = (type(made) if made.heads else first).from_pretrained(folder / "flexible")
    made.save_pretrained(folder / "again")
    return folder / "again"


def _rounded(source: Path, folder: Path) -> Path:
    return _again(source, folder / "again", dtype="bfloat16")


HALF = "float32 → bfloat16"
ROUTES: dict[str, Callable[[Path, Path], Path]] = {
    "safetensors → safetensors": _plain,
    "`.bin` → safetensors": _pickled,
    "one file → shards → one file": _sharded,
    "to flexible heads and back": _flexible,
    HALF: _rounded,
}
"""What is done to a directory, by what the page calls it. The result's place is returned."""


def classes(architecture: str) -> dict[str, str]:
    """The names of an architecture's classes, by what the page calls them: the type of the head."""
    found = {}
    for name in CLASSES:
        kind = zoo.CLASSES[name]
        if kind.architecture.model_type == architecture:
            row = "flexible heads" if name.endswith("AdapterModel") else "bare"
            row = row if kind.static is None else kind.static.head_type
            assert row not in found, f"{name} and {found[row]} are one row"
            found[row] = name
    return found


def outcomes(name: str, folder: Path, every: bool = True) -> dict[str, str]:
    """What becomes of a class's models, by route.

    Args:
        name: the class's name.
        folder: an empty folder.
        every: whether to look at each variant whose config's fields give it other tensors, not at the usual one alone.
    """
    found: dict[str, dict[str, None]] = {route: {} for route in ROUTES}
    for number, (_, changes) in enumerate(variants(name) if every else [(name, {})]):
        torch.manual_seed(0)
        place, model = folder / f"{number}", tiny_of(name, changes)
        if hasattr(model, "heads"):
            add_random(model, "a", CONFIGS["lora"])
            add_head(model, head_types(model)[0], "a")
        model.save_pretrained(place / "source")
        for step, route in enumerate(ROUTES):
            (place / f"{step}").mkdir()
            found[route][_outcome(route, place / "source", place / f"{step}")] = None
    told = {route: list(several) for route, several in found.items()}
    return {route: several[0] if len(several) == 1 else f"{BROKEN}{several}" for route, several in told.items()}


def _outcome(route: str, source: Path, folder: Path) -> str:
    try:
        after = read(ROUTES[route](source, folder))
    except ValueError as error:
        return f"{REFUSED}{reason(str(error))}"
    apart = _differences(read(source), after, torch.bfloat16 if route == HALF else None)
    return f"{BROKEN}{', '.join(apart)}" if apart else EXACT


def _differences(before: Content, after: Content, dtype: torch.dtype | None) -> list[str]:
    """What is not the same of two checkpoints, the first one's dtype changed."""
    wanted = {**before.config, "dtype": "bfloat16"} if dtype else before.config
    keys = sorted(key for key in wanted.keys() | after.config.keys() if wanted.get(key) != after.config.get(key))
    tensors = _sorted(cast(before.tensors, dtype)), _sorted(after.tensors)
    parts = [] if dtype else [name for name in before.parts if _unlike(before.parts[name], after.parts.get(name))]
    return [*keys, *parts, *([] if same_bits(*tensors) else ["tensors"])]


def _unlike(before: Content, after: Content | None) -> bool:
    return after is None or any(differences(before, after))


def _sorted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(sorted(tensors.items()))


WHOLE = "saved → loaded → saved"


def whole(architecture: str, folder: Path) -> str:
    """What becomes of all files of a model with adapters of all methods, a fusion and heads of all types; by bytes."""
    torch.manual_seed(0)
    model = add_all(tiny_model(architecture))
    for kind in head_types(model):
        add_head(model, kind, kind)
    model.add_adapter_fusion(Fuse("lora", "seq_bn"))
    model.set_active_adapters(Stack("prefix_tuning", Fuse("lora", "seq_bn")))
    model.save_pretrained(folder / "first")
    class_named(architecture, "AdapterModel").from_pretrained(folder / "first").save_pretrained(folder / "second")
    before, after = (_files(folder / name) for name in ("first", "second"))
    apart = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f"{BROKEN}{', '.join(apart)}" if apart else EXACT


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
