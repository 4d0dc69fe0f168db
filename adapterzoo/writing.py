"""Files that appear whole or not at all; several of them together, or none, even if the process is killed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from adapterzoo import journal
from adapterzoo.journal import sync
from adapterzoo.locking import held


class Pending:
    """Files that are written, under other names, and wait to take their places.

    Attributes:
        files: each file's present place, and the one that it shall have.
        folders: the folders that were made for them.
    """

    def __init__(self) -> None:
        self.files: list[tuple[Path, Path]] = []
        self.folders: list[Path] = []

    def add(self, path: Path, write: Callable[[str], object]) -> None:
        """Write a file beside its place, and wait until it is on the disk."""
        self._make(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        self.files.append((Path(temporary), path))
        write(temporary)
        sync(temporary)
        os.chmod(temporary, 0o666 & ~umask())

    def _make(self, folder: Path) -> None:
        for parent in (*reversed(folder.parents), folder):
            if not parent.exists():
                parent.mkdir(exist_ok=True)
                self.folders.append(parent)
            elif not parent.is_dir():
                raise FileExistsError(f"{parent} is a file, not a directory")

    def place(self) -> None:
        """Give all files their places. If one cannot have it, those that did are taken back.

        A journal makes one step of it for who is killed: `adapterzoo.journal`. Others who write there wait.
        """
        folders = list(dict.fromkeys(path.parent for _, path in self.files))
        root = _common(folders) if len(self.files) > 1 else None
        placed = False
        while not placed:
            for folder in folders:
                journal.settle(folder)
            with held([*folders, *([] if root is None else [root])]):
                # whom we waited for may have been killed
                if not any(next(journal.unfinished(folder), None) for folder in folders):
                    self._rename(folders, root)
                    placed = True
        journal.sweep(path for _, path in self.files)

    def _rename(self, folders: list[Path], root: Path | None) -> None:
        """Rename all, or none.

        Args:
            folders: where the files belong, which nobody else writes to now.
            root: where their journal lies; None for a single file, which needs none.
        """
        kept: list[tuple[Path, Path, Path | None]] = []
        try:
            for temporary, path in self.files:
                kept.append((temporary, path, _second_name(path, temporary.with_suffix(".old"))))
            if root is not None:
                for folder in folders:
                    sync(folder)
                journal.begin(root, (temporary for temporary, _ in self.files))
            for temporary, path in self.files:
                journal.rename(temporary, path)
            for folder in folders:
                sync(folder)
            if root is not None:
                journal.end(root)
        except BaseException:
            for temporary, path, old in reversed(kept):
                _take_back(temporary, path, old)
            if root is not None:  # only now: until here, all that it lists could still be renamed
                journal.end(root)
            raise
        for _, _, old in kept:
            if old is not None:
                old.unlink()

    def drop(self) -> None:
        """Leave nothing behind."""
        for temporary, _ in self.files:
            temporary.unlink(missing_ok=True)
        for folder in reversed(self.folders):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _second_name(path: Path, name: Path) -> Path | None:
    """Another name for the file that has a place now; None where there is none."""
    if not os.path.lexists(path):
        return None
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(path, name, follow_symlinks=False)
    return name


def _take_back(temporary: Path, path: Path, old: Path | None) -> None:
    """Undo a rename, if it was made."""
    if not temporary.exists() and os.path.lexists(path):
        os.rename(path, temporary)
        if old is not None:
            os.replace(old, path)
    elif old is not None:
        old.unlink()


def _common(folders: list[Path]) -> Path | None:
    """The folder that holds all of these; None where there is none, as on two drives."""
    try:
        return Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))
    except ValueError:
        return None


_PENDING: ContextVar[Pending | None] = ContextVar("pending", default=None)


@contextlib.contextmanager
def together() -> Iterator[Pending]:
    """Files written within take their places when all are on the disk. Whatever goes wrong, all is as it was.

    Blocks may be nested; the outermost counts.
    """
    outer = _PENDING.get()
    if outer is not None:
        yield outer
        return
    pending = Pending()
    token = _PENDING.set(pending)
    try:
        yield pending
        pending.place()
    except BaseException:
        pending.drop()
        raise
    finally:
        _PENDING.reset(token)


def write_whole(path: Path, write: Callable[[str], object]) -> None:
    """Write a file, whole or not at all.

    Args:
        path: its place. Folders that are not there are made.
        write: writes it to the path that it is given.

    Raises:
        FileExistsError: the folder is a file.
    """
    with together() as pending:
        pending.add(path, write)


def umask() -> int:
    """What the process masks out of the permissions of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def exchange(first: Path, second: Path) -> bool:
    """Let two files or folders change places in one step, if the system can: Linux can on most file systems.

    Returns:
        Whether it did. If not, nothing has changed.

    Raises:
        OSError: it could, but may not.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    here, exchanged = -100, 2  # AT_FDCWD and RENAME_EXCHANGE
    if renameat2(here, os.fsencode(first), here, os.fsencode(second), exchanged) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))
