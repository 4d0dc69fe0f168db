"""Directories that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from adapterzoo import journal
from adapterzoo.formats.content import FILES
from adapterzoo.journal import sync
from adapterzoo.writing import exchange, umask


def check_target(target: Path, source: str | os.PathLike[str], replace: bool) -> None:
    """Make sure that a directory may be written, and if it replaces another, that this is no grave mistake.

    Args:
        target: what shall be written.
        source: what is read; it must not lie in there.
        replace: whether a directory that holds something may be replaced.

    Raises:
        FileExistsError: there is a file, or a directory that may not be replaced.
    """
    place = target.resolve()
    if place.exists() and not place.is_dir():
        raise FileExistsError(f"{target} is a file, not a directory")
    if not place.is_dir() or not any(place.iterdir()):
        return
    if not replace:
        raise FileExistsError(f"{target} is not empty; pass --force to replace it")
    if not any((place / one.config).is_file() for one in FILES):
        known = ", ".join(dict.fromkeys(one.config for one in FILES))
        raise FileExistsError(f"{target} holds none of {known}, so it is no model or adapter; delete it yourself")
    for inside, what in ((Path(source), "what is to be converted"), (Path.cwd(), "the current directory")):
        if inside.exists() and inside.resolve().is_relative_to(place):
            raise FileExistsError(f"{target} holds {what}; write to another directory")


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new directory to write into. It becomes `target`, in place of what is there, when all went well.

    Whatever goes wrong, what was there before stays, and nothing is left behind.
    """
    place = target.resolve()
    new_parents = [parent for parent in place.parents if not parent.exists()]
    folder: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".tmp"))
        folder.chmod(0o777 & ~umask())
        yield folder
        _sync_tree(folder)
        _swap(folder, place)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for parent in new_parents:
            with contextlib.suppress(OSError):  # it was not made, or somebody else has put something there
                parent.rmdir()
        raise
    journal.sweep([place])


@contextlib.contextmanager
def passing_folder() -> Iterator[Path]:
    """A new directory to write into, which is gone afterwards: to see what would come of it."""
    with tempfile.TemporaryDirectory(prefix="adapterzoo-") as folder:
        yield Path(folder)


def _sync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root, name))
        sync(root)


def _swap(folder: Path, place: Path) -> None:
    """Give `folder` the name `place`. What has it is moved aside, and back if that fails, and then deleted.

    Both are done in one step where the system can, so that who is killed leaves the one or the other there. Where it
    cannot, there is a moment in which neither has the name, and both are beside it under others.
    """
    if not place.exists():
        os.rename(folder, place)
        sync(place.parent)
    elif exchange(folder, place):
        try:
            sync(place.parent)
        except BaseException:
            exchange(folder, place)
            raise
        shutil.rmtree(folder, ignore_errors=True)  # which is the old one by now
    else:
        _swap_in_two_steps(folder, place)


def _swap_in_two_steps(folder: Path, place: Path) -> None:
    aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".old"))
    old = aside / place.name
    try:
        os.rename(place, old)
        os.rename(folder, place)
        sync(place.parent)
    finally:
        if not place.exists():
            os.rename(old, place)
        shutil.rmtree(aside, ignore_errors=True)
