"""Which files something lies in: their names, sizes and formats."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapterzoo import embedding_files
from adapterzoo.conversion.facts import every
from adapterzoo.conversion.output import COPIED
from adapterzoo.conversion.record import RECORD
from adapterzoo.formats.content import FILES
from adapterzoo.store import Source, find, read_json, require

FORMATS = {
    ".safetensors": "safetensors",
    ".bin": "pickle",
    ".pt": "pickle",
    ".json": "json",
    ".txt": "text",
    ".index": "tensorflow",
}
"""A file's format by the ending of its name."""


def add_files(facts: dict[str, Any], made_of: Mapping[Path, Sequence[Path]]) -> dict[str, Any]:
    """Add to each of some facts the `files` that it lies in; to a model's, also how many `shards` its tensors have.

    An entry has the file's `name`, its size in `bytes`, its `format`, and whether it is `read`: a directory may hold
    the same weights in two formats. `shards` is None where no index spreads them over files.

    Args:
        facts: what `inspect_source` returned.
        made_of: what files were made of that others wrote: see `sources.Opened`.

    Returns:
        The facts.
    """
    for one in every(facts):
        weights, others = _weights(one), _others(one)
        read = [path for name in (*weights, *others) if (path := find(one["source"], name)) is not None]
        files = dict.fromkeys(origin for path in read for origin in made_of.get(path, (path,)))
        one["files"] = [_entry(path, one["source"], True) for path in files]
        one["files"] += [_entry(path, one["source"], False) for path in _passed_over(one, {*files, *made_of})]
        if one["kind"] == "model":
            index = any(path.name.endswith(".index.json") for path in files)
            of_tensors = [path for path in files if FORMATS.get(path.suffix) in ("safetensors", "pickle")]
            one["shards"] = len(of_tensors) if index else None
    return facts


def _entry(path: Path, source: Source, read: bool) -> dict[str, Any]:
    inner = Path(os.path.abspath(path))
    below = os.path.isdir(source) and inner.is_relative_to(os.path.abspath(source))
    name = inner.relative_to(os.path.abspath(source)).as_posix() if below else path.name
    kind = "tensorflow" if ".data-" in path.name else FORMATS.get(path.suffix, "other")
    return {"name": name, "bytes": path.stat().st_size, "format": kind, "read": read}


def _known(facts: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The names of the JSON file that something has, empty where it has none, and of the files of its tensors."""
    if facts["kind"] == "embedding":
        return "", (embedding_files.WEIGHTS,)
    kind = "adapter" if facts["format"] == "peft" else facts["kind"]  # a head lies in the same file there
    same = (one for one in FILES if one.kind == kind and (one.format == facts["format"] or kind == "model"))
    ((_, _, config, weights, *_),) = same
    return config, weights


def _weights(facts: Mapping[str, Any]) -> list[str]:
    """The names of the files that tensors are read from, the index first."""
    source = facts["source"]
    first = next((name for name in _known(facts)[1] if find(source, name) is not None), None)
    if first is None or not first.endswith(".json"):
        return [] if first is None else [first]
    return [first, *sorted(set(read_json(require(source, first))["weight_map"].values()))]


def _others(facts: Mapping[str, Any]) -> Sequence[str]:
    """The names of other files, of which some may not be there. Those beside a model on the Hub are not fetched."""
    if facts["kind"] == "embedding":
        return embedding_files.TOKENIZER_FILES
    if not os.path.isdir(facts["source"]):
        return (_known(facts)[0],)
    return (_known(facts)[0], *(COPIED if facts["kind"] == "model" else ()), RECORD)


def _passed_over(facts: Mapping[str, Any], read: Iterable[Path]) -> list[Path]:
    """Files in a directory that hold the same weights, and that are not read."""
    source, known = facts["source"], {path.resolve() for path in read}
    if not os.path.isdir(source):
        return []
    there = [Path(source) / name for name in _known(facts)[1] if (Path(source) / name).is_file()]
    return [path for path in there if path.resolve() not in known]
