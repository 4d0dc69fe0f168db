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

from adapterzoo.conversion.convert import COPIED
from adapterzoo.conversion.translated import translated
from adapterzoo.formats import fairseq, hf, tensorflow
from adapterzoo.formats.content import FILES
from adapterzoo.formats.foreign import Foreign
from adapterzoo.formats.pickled import read_shards
from adapterzoo.hub.fetch import visit
from adapterzoo.store import FileError, Source, find, read_json, write_tensors

PICKLES = {name: one.weights[0] for one in FILES for name in one.weights if name.endswith(".bin")}
"""Names of files in pickle's format that hold tensors, and what they are called as safetensors."""


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
def opened(source: Source, allow_pickle: bool) -> Iterator[Opened]:
    """The source itself; or, within, a temporary directory with the same in safetensors and under HF's names.

    So it is for PyTorch's files, and for checkpoints of fairseq's and of TensorFlow's BERT. Errors tell of the source.

    Args:
        source: a directory, a file of fairseq's, or a repository's name on the Hub.
        allow_pickle: whether PyTorch's files may be read (tensors and plain data only, by another process).

    Raises:
        FileError: there are such files, and they may not be read, or cannot be.
    """
    with visit(), tempfile.TemporaryDirectory(prefix="adapterzoo-") as scratch:
        found = _plain(source, Path(scratch), allow_pickle)
        try:
            yield found
        except (OSError, ValueError) as error:
            if found.place is source:
                raise
            raise type(error)(str(error).replace(os.fspath(found.place), os.fspath(source))) from error


def _plain(source: Source, scratch: Path, allow_pickle: bool) -> Opened:
    target = scratch / "plain"
    if os.path.isfile(source) or _only_fairseq(source):
        file = fairseq.find_file(source)
        _check_allowed(file, allow_pickle)
        (scratch / "read").mkdir()
        return _written("fairseq", source, target, fairseq.open_fairseq(source, scratch / "read"), [file], file)
    if os.path.isdir(source) and _is_tensorflow(Path(source)):
        files, config = tensorflow.files_of(source)
        return _written("tensorflow", source, target, tensorflow.open_tensorflow(source), files, config)
    folder = _folder(source)
    pickles = [] if folder is None else _pickles(folder)
    if folder is None or not pickles:
        return Opened(source, source)
    _check_allowed(pickles[0], allow_pickle)
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


def _pickles(folder: Path) -> list[Path]:
    """The pickles that would be read: where the same lies in safetensors, that is read."""
    found = []
    for path in sorted(folder.rglob("*.bin")):
        index = path.parent / "pytorch_model.bin.index.json"
        shard = index.is_file() and path.name in read_json(index).get("weight_map", {}).values()
        safe = [name for name in (*hf.WEIGHTS, *PICKLES.values()) if "safetensors" in name]
        if (path.name in PICKLES or shard) and not any((path.parent / name).exists() for name in safe):
            found.append(path)
    return found


def _mirror(folder: Path, target: Path, pickles: list[Path], scratch: Path) -> dict[Path, list[Path]]:
    """The directory's files by links, and its pickles as safetensors: what each of these was made of."""
    made_of: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        copy = target / path.relative_to(folder)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif path not in pickles and path.name != "pytorch_model.bin.index.json":
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path.resolve())
    tensors: dict[Path, dict[str, object]] = {}
    for path, found in zip(pickles, read_shards(pickles, scratch), strict=True):
        if found.facts:
            raise FileError(f"{path} holds something else than tensors by name: {', '.join(sorted(found.facts))}")
        name = PICKLES.get(path.name, "model.safetensors")
        place = target / path.relative_to(folder).with_name(name)
        tensors.setdefault(place, {}).update(found.tensors)
        index = path.with_name("pytorch_model.bin.index.json")
        made_of.setdefault(place, [] if path.name in PICKLES else [index]).append(path)
    for place, several in tensors.items():
        write_tensors(place, several)  # type: ignore[arg-type]
    return made_of
