"""What a conversion was: its source, its options, which tensor became which, and how both compare."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from adapterzoo.core.registry import NamedModules
from adapterzoo.formats.content import FILES
from adapterzoo.store import Source, find, write_json
from adapterzoo.version import __version__

RECORD = "conversion.json"
CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""


def write_record(
    folder: Path,
    sources: Mapping[str, Source],
    options: Mapping[str, Any],
    tensors: Mapping[str, list[str]],
    left: list[str],
    outcome: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `conversion.json`, and return what it holds.

    Args:
        folder: what was written.
        sources: what it was made of, by what each is: "source", "base".
        options: those that matter.
        tensors: see `mapping`.
        left: names of the source's tensors that did not go along.
        outcome: what the comparison told.
    """
    content = {
        "adapterzoo": __version__,
        **{what: {"name": name_of(one), "sha256": hashes(one)} for what, one in sources.items()},
        "options": dict(options),
        "tensors": dict(tensors),
        "left_out": left,
        "verified": dict(outcome),
    }
    write_json(folder / RECORD, content)
    return content


def name_of(source: Source) -> str:
    """What a source is called: a repository's id, or a directory's last name; where that lies is nobody's business."""
    return os.path.basename(os.path.abspath(source)) if os.path.exists(source) else os.fspath(source)


def hashes(source: Source) -> dict[str, str]:
    """The SHA-256 of each file of a source; of a repository on the Hub, of those that were fetched."""
    if os.path.isfile(source):
        return {os.path.basename(source): _hash(Path(source))}
    known = (path for one in FILES if (path := find(source, one.config)) is not None)
    root = Path(source) if os.path.isdir(source) else next((path.parent for path in known), None)
    files = (
        [] if root is None else sorted(path for path in root.rglob("*") if path.is_file() and not _hidden(path, root))
    )
    return {path.relative_to(root).as_posix(): _hash(path) for path in files if root is not None}


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Place(NamedTuple):
    """Where a tensor belongs, whatever a file calls it.

    Attributes:
        owner: the model's part: "", "adapter a", "head b".
        tensor: our name of the tensor there; "" where a table tells but the owner.
        part: which part of ours it is.
    """

    owner: str
    tensor: str
    part: int


class Told(NamedTuple):
    """What `inspect_source` tells of one side.

    Attributes:
        facts: what it tells.
        inside: whether what it tells of folders lies in the model's own file.
    """

    facts: Mapping[str, Any]
    inside: bool


def mapping(source: Told, written: Told, head: str = "default") -> dict[str, list[str]]:
    """For each of a source's tensors the names of the written ones that hold it, or a part of it, or it as a part.

    Names are the files' own; those of a part beside a model follow the part's folder.

    Args:
        source: what was converted.
        written: what came of it.
        head: what a fixed head is called on the other side, if that is flexible.
    """
    there: dict[Place, list[str]] = {}
    for place, name in _rows(written, head):
        there.setdefault(place, []).append(name)
    found: dict[str, list[str]] = {}
    first: dict[Place, str] = {}
    for place, name in _rows(source, head):
        if not place.tensor:
            found[name] = [one for other, names in there.items() if other.owner == place.owner for one in names]
        elif first.setdefault(place, name) == name:  # a head beside the one among the weights is a copy of it
            found[name] = there.get(place) or there.get(Place(place.owner, "", 0), [])
    return found


def left_out(source: Mapping[str, Any]) -> list[str]:
    """The source's tensors that nobody needs, or that the class has no place for."""
    return sorted({name for key in ("unused", "without_place", "unexpected") for name in source.get(key, ())})


def _rows(told: Told, head: str) -> Iterator[tuple[Place, str]]:
    """The place of each tensor, and its name in the file."""
    facts = told.facts
    if facts["kind"] != "model":
        yield from _of_part(facts, "")
        return
    for row in facts["tensors"]:
        owner, _, rest = row["ours"].partition(".")
        yield Place(f"head {head}" if owner == "head" else "", rest, row["part"]), row["theirs"]
    for folder in ("adapters", "fusions", "heads"):
        for part in facts.get(folder, ()):
            stem = "" if told.inside else f"{folder}/{os.path.basename(part['source'])}: "
            yield from ((place, stem + name) for place, name in _of_part(part, f" {part['name']}"))


def _of_part(facts: Mapping[str, Any], name: str) -> Iterator[tuple[Place, str]]:
    """The same of an adapter and the head beside it, or of a head. Its own name, which may change, is no part of it."""
    is_head = facts["kind"] == "head"
    for row in facts["tensors"]:
        tensor = _in_head(row["ours"], facts["name"]) if is_head else row["ours"]
        yield Place(f"{facts['kind']}{name}", tensor, row["part"]), row["theirs"]
    if facts.get("head"):
        yield from _of_part(facts["head"], name)


def _in_head(ours: str, name: str | None) -> str:
    """Our name of a head's tensor within the head; "" for all of it. Heads' names may have dots."""
    stems = ["head"] if name is None else [f"heads.{name}", f"heads.{NamedModules.slug(name)}", "head"]
    stem = next(stem for stem in stems if ours == stem or ours.startswith(f"{stem}."))
    return ours[len(stem) + 1 :]
