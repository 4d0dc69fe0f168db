"""What is to be looked into, as a directory in safetensors under HF's names, whoever wrote it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from adapterzoo.conversion.output import COPIED
from adapterzoo.conversion.translated import translated
from adapterzoo.formats import fairseq, hf, tensorflow
from adapterzoo.formats.content import FILES
from adapterzoo.formats.foreign import Foreign
from adapterzoo.formats.pickled import as_safetensors
from adapterzoo.formats.shards import INDEX
from adapterzoo.hub.fetch import visit
from adapterzoo.store import FileError, Source, find, read_json, write_json

PICKLES = {name: one.weights[0] for one in FILES for name in one.weights if name.endswith(".bin")}
"""Names of files in pickle's format that hold tensors, and what they are called as safetensors."""

PICKLED_INDEX = "pytorch_model.bin.index.json"
"""What tells which file of several holds a tensor."""


class Opened(NamedTuple):
    """A source that can be looked into.

    Attributes:
        place: where it lies now.
        source: what it was called.
        made_of: what files there were made of that another program wrote; of the others, the same lie there.
        format: "fairseq" or "tensorflow"; None for what is Hugging Face's, AdapterHub's or PEFT's already.
        foreign: what such a checkpoint came to.
    """

    place: Source
    source: Source
    made_of: Mapping[Path, Sequence[Path]] = MappingProxyType({})
    format: str | None = None
    foreign: Foreign | None = None

    def named(self, facts: dict[str, Any]) -> dict[str, Any]:
        """What was found there, under the name that the source was called by, and those that its tensors have there."""
        if self.place is self.source:
            return facts
        new, old = (json.dumps(os.fspath(one))[1:-1] for one in (self.place, self.source))
        found: dict[str, Any] = json.loads(json.dumps(facts).replace(new, old))
        return found if self.foreign is None else translated(found, str(self.format), self.foreign)


@contextmanager
def opened(source: Source, allow_pickle: bool, head: str | None = None) -> Iterator[Opened]:
    """The source itself; or, within, a temporary directory with the same in safetensors and under HF's names.

    So it is for PyTorch's files, and for checkpoints of fairseq's and of TensorFlow's BERT. Errors tell of the source.

    Args:
        source: a directory, a file of fairseq's, or a repository's name on the Hub.
        allow_pickle: whether PyTorch's files may be read (tensors and plain data only, by another process).
        head: of fairseq's checkpoint the head to take; see `open_fairseq`.

    Raises:
        FileError: there are such files, and they may not be read, or cannot be.
        ValueError: a head is chosen, and it is none of the checkpoint's, or the checkpoint none of fairseq's.
    """
    with visit(), tempfile.TemporaryDirectory(prefix="adapterzoo-") as scratch:
        found = _plain(source, Path(scratch), allow_pickle, head)
        try:
            yield found
        except (OSError, ValueError) as error:
            if found.place is source:
                raise
            told = str(error).replace(os.fspath(found.place), os.fspath(source))
            kind = ValueError if isinstance(error, UnicodeError) else type(error)  # these are not made of a message
            raise kind(told) from error


def _plain(source: Source, scratch: Path, allow_pickle: bool, head: str | None) -> Opened:
    target = scratch / "plain" / os.path.basename(os.path.abspath(source))  # PEFT's adapters are called as it is
    target.parent.mkdir()
    if os.path.isfile(source) or _only_fairseq(source):
        file = fairseq.find_file(source)
        _check_allowed(file, allow_pickle)
        (scratch / "read").mkdir()
        return _written("fairseq", source, target, fairseq.open_fairseq(source, scratch / "read", head), [file], file)
    if head is not None:
        raise ValueError(f"--fairseq-head is for fairseq's checkpoints, and {os.fspath(source)!r} is none")
    if os.path.isdir(source) and _is_tensorflow(Path(source)):
        files, config = tensorflow.files_of(source)
        return _written("tensorflow", source, target, tensorflow.open_tensorflow(source), files, config)
    folder = _folder(source)
    pickles = {} if folder is None else _pickles(folder)
    if folder is None or not pickles:
        return Opened(source, source)
    _check_allowed(next(iter(pickles)), allow_pickle)
    return Opened(target, source, _mirror(folder, target, pickles, scratch))


def _written(format: str, source: Source, target: Path, foreign: Foreign, tensors: list[Path], config: Path) -> Opened:
    """Another library's checkpoint, which becomes a directory of Hugging Face's."""
    foreign.write(target)
    made_of = {target / hf.WEIGHTS[0]: tensors, target / "config.json": [config]}
    for name in foreign.files:
        made_of[target / name] = [path for one in (name, *fairseq.WORDS) if (path := config.parent / one).is_file()]
    return Opened(target, source, made_of, format, foreign)


def _check_allowed(path: Path, allow_pickle: bool) -> None:
    if not allow_pickle:
        raise FileError(
            f"{path} is a PyTorch file, in pickle's format; pass --allow-pickle to read it (only tensors and plain "
            "data are read, by a process of its own, and no code is run)"
        )


def _only_fairseq(source: Source) -> bool:
    folder = Path(source)
    known = any((folder / one.config).exists() for one in FILES)
    return folder.is_dir() and not known and any(folder.glob("*.pt"))


def _is_tensorflow(folder: Path) -> bool:
    known = any((folder / one.config).exists() for one in FILES)
    return not known and any(folder.glob("*.index")) and not any(folder.glob("*.safetensors.index"))


def _folder(source: Source) -> Path | None:
    """The directory where a source's files lie; those of a repository on the Hub are fetched."""
    if os.path.isdir(source):
        return Path(source)
    configs = [path for one in FILES if (path := find(source, one.config)) is not None]
    weights = [
        path for one in FILES if find(source, one.config) for name in one.weights if (path := find(source, name))
    ]
    if not configs or all(path.suffix != ".bin" for path in weights):
        return None  # read as any repository is
    for name in COPIED:
        find(source, name)
    return configs[0].parent


def _pickles(folder: Path) -> dict[Path, str]:
    """The pickles that would be read, and their names as safetensors: where such lie beside them, those are read."""
    found = {}
    safe = [name for name in (*hf.WEIGHTS, *PICKLES.values()) if "safetensors" in name]
    for path in sorted(folder.rglob("*.bin")):
        if not path.is_file() or any((path.parent / name).exists() for name in safe):
            continue
        name = PICKLES.get(path.name) or _shards(path.parent).get(path.name)
        if name is not None:
            found[path] = name
    return found


def _shards(folder: Path) -> dict[str, str]:
    """Shards in pickle's format, by the index that would be read, and their names as safetensors."""
    index = folder / PICKLED_INDEX
    if not index.is_file() or (folder / "pytorch_model.bin").exists():
        return {}
    where = read_json(index).get("weight_map")
    names = where.values() if isinstance(where, dict) else ()
    return {
        name: name.removesuffix(".bin") + ".safetensors"
        for name in names
        if isinstance(name, str) and name.endswith(".bin")
    }


def _mirror(folder: Path, target: Path, pickles: dict[Path, str], scratch: Path) -> dict[Path, list[Path]]:
    """The directory's files by links, its pickles as safetensors, and its indexes with the names of these.

    Returns:
        What these were made of.
    """
    made_of: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        copy = target / path.relative_to(folder)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shards = _shards(path.parent) if path.name == PICKLED_INDEX else {}
        if shards:
            index = read_json(path)
            where = index["weight_map"].items()
            index["weight_map"] = {key: shards.get(str(name), name) for key, name in where}
            write_json(copy.with_name(INDEX), index)
            made_of[copy.with_name(INDEX)] = [path]
        elif path not in pickles:
            copy.symlink_to(os.path.realpath(path))
    (scratch / "read").mkdir()
    for made, (path, name) in zip(as_safetensors(list(pickles), scratch / "read"), pickles.items(), strict=True):
        place = target / path.relative_to(folder).with_name(name)
        made.rename(place)
        made_of[place] = [path]
    return made_of
