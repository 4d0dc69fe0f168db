"""What became of one input: loaded as it should be, refused as it should be, or neither."""

from __future__ import annotations

import copy
import json
import linecache
import re
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import adapterzoo
from adapterzoo.formats import peft
from adapterzoo.formats.adapterhub import HEAD_CONFIG, HEAD_WEIGHTS
from tests.helpers.fuzz import on_tensors
from tests.helpers.fuzz.readers import Reader, content_of

PACKAGE = Path(adapterzoo.__file__).parent
ALLOWED = (ValueError, FileNotFoundError)
"""What a reader may raise for what a folder holds, if it does so by a `raise` of its own, with a message.

ValueError has children: FileError for a file that is not what it should be, CheckpointError for weights that do not
fit, UnknownName for names that are not there. FileNotFoundError is for files that are not there. TypeError is for
arguments of the caller's, not for files.
"""

STEM = "bert."
"""What stands before the network's names in classes with heads."""

PEFT, TARGETS = "peft_type", "target_modules"
CHANGED = ("architectures", "dtype", "torch_dtype", "id2label", "label2id", "num_labels", "adapterzoo", "model_type")
CHANGED += ("version", "model_class", "model_name", "config_id", "_name_or_path", "transformers_version")
"""Entries of JSON files that may be written otherwise than they were read, or are compared in `content_of`."""


class Verdict(NamedTuple):
    """What became of an input.

    Attributes:
        kind: "loaded", "refused" or "defect".
        detail: the type of the error; of a defect, what it is.
        trace: where it was raised.
    """

    kind: str
    detail: str = ""
    trace: str = ""


class Bench:
    """A reader with its good example, and a host that is made anew when it was changed.

    Args:
        reader: the reader.
        folder: where to put the example and what is made of it.
    """

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.good, self.bad, self.again = reader, folder / "good", folder / "bad", folder / "again"
        self.good.mkdir()
        torch.manual_seed(0)
        reader.make(self.good)
        self.pristine = reader.host()
        self.host = self._new_host()
        self.before = content_of(self.host)
        verdict, self.content = self._loaded(self.good)
        assert verdict is None, verdict

    def _new_host(self) -> Any:
        """Another host that is as the first was: a copy is made sooner than a model."""
        return copy.deepcopy(self.pristine)

    def fresh(self) -> Path:
        """A new copy of the example."""
        for folder in (self.bad, self.again):
            if folder.is_symlink() or folder.exists():
                shutil.rmtree(folder)
        shutil.copytree(self.good, self.bad)
        return self.bad

    def judge(self, neutral: bool) -> Verdict:
        """Load what was made of the copy, and say what became of it.

        Args:
            neutral: whether it means the same as the example.
        """
        verdict, content = self._loaded(self.bad)
        if verdict is None and neutral and content != self.content:
            return Verdict("defect", f"loaded as something else: {differences(content, self.content)}")
        if verdict is not None and neutral and verdict.kind == "refused":
            return Verdict("defect", f"refused, though it means the same: {verdict.detail}", verdict.trace)
        if verdict is None and self.reader.told(content):
            return Verdict("refused", "told among its problems")
        return Verdict("loaded") if verdict is None else verdict

    def _loaded(self, folder: Path) -> tuple[Verdict | None, Any]:
        """What was loaded, and what is wrong with it or why it was refused."""
        reader, host = self.reader, self.host
        try:
            found = reader.load(host, folder)
        except Exception as error:
            problem = not_meant(error)
            if problem is None and content_of(host) != self.before:
                problem = f"refused, but changed: {differences(content_of(host), self.before)}"
            if problem is not None:
                self.host = self._new_host()
                return Verdict("defect", problem, traceback.format_exc()), None
            return Verdict("refused", type(error).__name__, traceback.format_exc()), None
        if reader.of_host:
            self.host = self._new_host()
        content = content_of(host if reader.of_host else found)
        try:
            problem = self._survives(host, found, content, folder)
        except Exception as error:
            return Verdict("defect", f"loaded, but then {type(error).__name__}: {error}", traceback.format_exc()), None
        return (None if problem is None else Verdict("defect", problem)), content

    def _survives(self, host: Any, found: Any, content: Any, folder: Path) -> str | None:
        """What is lost when it is saved, and loaded again; and where that is not what the file holds."""
        reader = self.reader
        if reader.save is None:
            json.dumps(found)
            return None if content_of(reader.load(None, folder)) == content else "looked at again, it is another"
        shutil.rmtree(self.again, ignore_errors=True)
        reader.save(host, found, self.again)
        other = self._new_host()
        second = reader.load(other, self.again)
        again = content_of(other if reader.of_host else second)
        if again != content:
            return f"not the same after saving: {differences(again, content)}"
        return next(unfaithful(folder, self.again, reader.spare, reader.passed), None)


def not_meant(error: Exception) -> str | None:
    """Why an error is none that a reader may raise; None if it is one."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    own = Path(frame.filename).is_relative_to(PACKAGE) and frame.lineno is not None
    meant = own and linecache.getline(frame.filename, frame.lineno or 0).lstrip().startswith("raise")
    if isinstance(error, ALLOWED) and meant and str(error):
        try:
            str(error).encode()
        except UnicodeEncodeError:
            return f"{type(error).__name__} with a message that cannot be printed"
        return None
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.name}: {str(error)[:100]!r}"


def differences(first: Any, second: Any, where: str = "") -> str:
    """Where two contents differ, for people."""
    if type(first) is not type(second):
        return f"{where}: {str(first)[:80]} is not {str(second)[:80]}"
    if isinstance(first, dict):
        keys = [key for key in {**first, **second} if first.get(key, ...) != second.get(key, ...)]
        return "; ".join(differences(first.get(key), second.get(key), f"{where}/{key}") for key in keys[:4])
    if isinstance(first, (list, tuple)) and len(first) == len(second):
        pairs = [(number, pair) for number, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]]
        return "; ".join(differences(*pair, f"{where}/{number}") for number, pair in pairs[:4])
    return f"{where}: {str(first)[:80]} is not {str(second)[:80]}"


def unfaithful(
    read: Path, written: Path, spare: Callable[[str], bool] = lambda name: False, passed: Sequence[str] = ()
) -> Iterator[str]:
    """Where files that were written hold something else than those of the same name that had been read."""
    for path in written.rglob("*.safetensors"):
        source = read / path.relative_to(written)
        unread = path.name == HEAD_WEIGHTS[0] and not (source.parent / HEAD_CONFIG).is_file()
        if unread or not source.is_file():
            continue
        theirs, ours = on_tensors.read(source), on_tensors.read(path)
        for name, tensor in ours.items():
            found = [theirs[key] for key in (name, f"{STEM}{name}", name.removeprefix(STEM)) if key in theirs]
            if not found and not spare(name):
                yield f"{path.name}: {name} is made up"
            elif found and not any(_same(one, tensor) for one in found):
                yield f"{path.name}: {name} was {found[0].dtype} {tuple(found[0].shape)}, or has other values now"
    for path in written.rglob("*config.json"):
        source = read / path.relative_to(written)
        if source.is_file() and path.name != "tokenizer_config.json":
            theirs, ours = (json.loads(place.read_text()) for place in (source, path))
            if (PEFT in theirs) == (PEFT in ours):  # else one name means two things
                _without_unheard(theirs, source.parent)
                yield from _unfaithful_json(theirs, ours, path.name, passed)


def _without_unheard(config: Any, folder: Path) -> None:
    """Leave out words of PEFT's that end no name of a module with tensors; order the others, for it says nothing."""
    words, file = config.get(TARGETS), folder / peft.WEIGHTS[0]
    if isinstance(words, list) and file.is_file():
        modules = [re.sub(r"\.(lora|ia3|vera)_.*", "", name) for name in on_tensors.read(file)]
        heard = {word for word in words if any(f".{module}".endswith(f".{word}") for module in modules)}
        config[TARGETS] = sorted(heard)


def _same(read: torch.Tensor, written: torch.Tensor) -> bool:
    """Whether a tensor is what was read, but for numbers with a fraction in another dtype."""
    if read.dtype != written.dtype and not (read.is_floating_point() and written.is_floating_point()):
        return False
    return bool(read.shape == written.shape) and content_of(read.to(written.dtype)) == content_of(written)


def _unfaithful_json(theirs: Any, ours: Any, name: str, passed: Sequence[str]) -> Iterator[str]:
    for key, value in ours.items():
        told = (
            key not in (*CHANGED, *passed)
            and theirs.get(key) is not None
            and isinstance(value, (int, float, str, list))
        )
        if told and theirs[key] != value and json.dumps(theirs[key]) != json.dumps(value):
            yield f"{name}: {key} was {str(theirs[key])[:80]}, is {str(value)[:80]}"
