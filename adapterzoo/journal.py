"""Several renames that count as one: what a process that was killed among them has left is finished by the next.

New files are written beside their places, under names such as `.NAME.k3j9_x2a.tmp`. When all are on the disk, a journal
that lists them appears in the folder that they have in common: from here on the new files count. They are renamed, and
the journal goes. Who finds a journal, before reading or writing, renames what is still to be renamed: see `settle`.
Thus a reader finds the old files, all of them, or the new ones.

Who renames holds the folders meanwhile: see `adapterzoo.locking`. Of two who save to the same place at the same moment,
the one waits, and what it saves is there in the end.

Where a save is killed before its journal is there, its temporary files stay behind and nobody reads them; so does a
folder that was to become a whole one (`conversion/folder.py`). A later save to the same place removes them: `sweep`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from adapterzoo.core.fields import fits
from adapterzoo.locking import held

JOURNAL = ".adapterzoo-saving.json"
ABOVE = 4
"""How far above a file's folder its journal may lie: of `embeddings/NAME/tokenizer/` of a saved model, three."""

ABANDONED = 3600
"""Seconds after which a temporary file that nobody renamed is taken for one of a process that was killed."""

_OURS = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.(?:tmp|old)", re.DOTALL)


def begin(root: Path, temporaries: Iterable[Path]) -> None:
    """Write a journal, whole or not at all: the files that it lists count from here on.

    Args:
        root: the folder that holds them all, however deep.
        temporaries: the files, under the names that they have now.
    """
    text = json.dumps([os.path.relpath(path, root) for path in temporaries])
    handle, name = tempfile.mkstemp(dir=root, prefix=f".{JOURNAL}.", suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, root / JOURNAL)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(root)


def end(root: Path) -> None:
    """Take a journal away: all that it lists is renamed, or nothing, and shall not be."""
    (root / JOURNAL).unlink(missing_ok=True)


def settle(folder: str | os.PathLike[str]) -> None:
    """Finish the saves to a folder, or to those above it, that were killed while files were being renamed.

    Raises:
        ValueError: there is a journal that cannot be one of ours.
        OSError: there is one, but its files may not be renamed.
    """
    for root in unfinished(folder):
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(FileNotFoundError):  # it is gone, journal and all
                stack.enter_context(held([root]))  # for its writer may be alive
            if os.path.isfile(root / JOURNAL):
                _finish(root)


def unfinished(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Where journals lie of saves to a folder, or to those above it."""
    there = os.path.isdir(folder)
    for root in dict.fromkeys((os.path.abspath(folder), os.path.realpath(folder)) if there else ()):
        for _ in range(1 + ABOVE):  # with plain texts: this is done for each file that is looked for
            if os.path.isfile(os.path.join(root, JOURNAL)):
                yield Path(root)
            below, root = root, os.path.dirname(root)
            if below == root:
                break


def _finish(root: Path) -> None:
    journal = root / JOURNAL
    try:
        owner, names = journal.stat().st_uid, _listed(journal)
        temporaries = [root / name for name in names]
        for temporary in temporaries:
            # Somebody else's journal moves nothing of ours.
            if temporary.is_file() and temporary.stat().st_uid == owner:
                rename(temporary, place_of(temporary))
        for folder in {temporary.parent for temporary in temporaries if temporary.parent.is_dir()}:
            sync(folder)
        end(root)
    except FileNotFoundError:  # somebody else has just finished it
        if journal.exists():
            raise
    except OSError as error:
        raise OSError(f"a save to {root} was killed halfway, and what is left of it cannot be done: {error}") from error


def _listed(journal: Path) -> list[str]:
    try:
        names = json.loads(journal.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        names = None
    if not fits(names, list[str]) or not all(_is_temporary(name) for name in names):
        raise ValueError(f"{journal} lists no files of a save that was killed; if you do not know it, delete it")
    return list(names)


def _is_temporary(name: str) -> bool:
    """Whether it may be a temporary file in the journal's folder or below."""
    path = Path(name)
    plain = not path.is_absolute() and ".." not in path.parts and "\0" not in name
    return plain and _OURS.fullmatch(path.name) is not None and path.suffix == ".tmp"


def place_of(temporary: Path) -> Path:
    """Where a temporary file belongs."""
    match = _OURS.fullmatch(temporary.name)
    assert match is not None
    return temporary.with_name(match[1])


def rename(temporary: Path, path: Path) -> None:
    """Give a file its place, unless another process, which found the journal, has done so."""
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        if temporary.exists() or not path.exists():
            raise


def sweep(paths: Iterable[Path]) -> None:
    """Remove what killed saves of these files or folders left behind, long ago: what is written now is let alone."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    before = time.time() - ABANDONED
    for folder, own in names.items():
        for entry in list(os.scandir(folder)):
            match = _OURS.fullmatch(entry.name)
            if match and match[1] in own | {JOURNAL} and _last_change(Path(entry)) < before:
                _remove(entry)


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry, ignore_errors=True)
    else:
        Path(entry).unlink(missing_ok=True)


def _last_change(path: Path) -> float:
    """When a file, or anything in a folder, was last changed; now, where it goes at this moment."""
    inside = (Path(root, name) for root, _, files in os.walk(path) for name in (".", *files))
    try:
        return max(one.lstat().st_ctime for one in (path, *inside))
    except FileNotFoundError:
        return time.time()


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or a directory's list of files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
