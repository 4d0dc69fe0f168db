"""Files of Hub repositories: within a visit all of one commit, from the cache where it has them, checked when new."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants

logger = logging.getLogger("adapterzoo")

Token = str | bool | None
"""A token; None for the one of the environment or of the last login; False for none."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 22
_SHOWN = 20  # names of files in a message


class Pinned:
    """A repository at a revision, which stays one commit.

    Args:
        repository: its id.
        revision: branch, tag or commit.
        token: what to show the Hub.

    Attributes:
        commit: the commit; None as long as it is not known.
        files: the commit's files; None as long as the Hub has not told.
        cached_only: whether the Hub cannot be asked.
    """

    def __init__(self, repository: str, revision: str, token: Token) -> None:
        self.repository, self.revision, self.token = repository, revision, token
        self.commit = revision if _COMMIT.fullmatch(revision) else None
        self.files: frozenset[str] | None = None
        self.cached_only = self._asked = self._to_note = False

    def find(self, name: str) -> Path | None:
        """A file's place in the cache; None where the repository has no such file, or offline the cache has not.

        Raises:
            FileNotFoundError: the repository or the revision is not there, or not to be had.
            OSError: the download failed, or is damaged.
        """
        if self.commit is None:
            self._ask()
        if self.commit is not None:
            cached = huggingface_hub.try_to_load_from_cache(self.repository, name, revision=self.commit)
            if cached is not None:  # a path, or the mark of what is not in the repository
                return self._noted(Path(cached)) if isinstance(cached, str) else None
        self._ask()
        if self.cached_only and self.commit is not None:
            return None
        if self.files is not None and name not in self.files:
            self._mark(name)
            return None
        path = self._download(name)
        return None if path is None else self._noted(path)

    def _ask(self) -> None:
        """Ask the Hub, once, what the revision means and what files it has.

        It is one try that ends soon: with the files in the cache, who is offline unawares must not wait long.
        """
        if self._asked:
            return
        self._asked = True
        cached = self._cached_commit()
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            self._stay_away(cached)
            return
        try:
            seconds = huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT
            api = huggingface_hub.HfApi(token=self.token)
            info = api.model_info(self.repository, revision=self.revision, timeout=seconds)
        except Exception as error:  # of what kinds is up to the library's version, and to what it sends requests with
            if cached is not None and _leaves_the_cache(error):
                logger.warning("the Hub did not answer, so %s is what its cache has: %s", self.repository, error)
                self._stay_away(cached)
            return  # else the download asks again, in the way that mirrors know, too, and tells what is wrong
        if _COMMIT.fullmatch(str(info.sha)) and info.siblings is not None:
            self.commit, self.files = info.sha, frozenset(str(file.rfilename) for file in info.siblings)
            self._to_note = info.sha not in (cached, self.revision)

    def _stay_away(self, cached: str | None) -> None:
        self.cached_only, self.commit = True, cached

    def _folder(self) -> Path:
        return Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}"

    def _cached_commit(self) -> str | None:
        """The commit that the cache has for the revision."""
        with contextlib.suppress(OSError):
            commit = self.commit or self._note().read_text(encoding="utf-8").strip()
            there = _COMMIT.fullmatch(commit) and (self._folder() / "snapshots" / commit).is_dir()
            return commit if there else None
        return None

    def _download(self, name: str) -> Path | None:
        try:
            with as_os_errors():
                place = huggingface_hub.hf_hub_download(
                    self.repository,
                    name,
                    revision=self.commit or self.revision,
                    token=self.token,
                    local_files_only=self.cached_only,
                )
        except huggingface_hub.errors.LocalEntryNotFoundError as error:
            raise FileNotFoundError(self._not_to_be_had(error)) from error
        except huggingface_hub.errors.EntryNotFoundError:
            return None
        except huggingface_hub.errors.HfHubHTTPError as error:
            raise FileNotFoundError(self._refused(error)) from error
        except OSError as error:
            raise OSError(f"{name} of the Hub repository {self.repository!r} was not downloaded: {error}") from error
        path, snapshots = Path(place), self._folder() / "snapshots"
        if self.commit is None and path.is_relative_to(snapshots):  # the Hub did not tell it: a mirror of files alone
            self.commit = path.relative_to(snapshots).parts[0]
        if not self.cached_only:
            check_whole(path, self._hash(path, name), f"{name} of the Hub repository {self.repository!r}")
        return path

    def _hash(self, path: Path, name: str) -> str:
        """What the Hub calls the content of a file that has just come: its SHA-256 if it is a large one."""
        if path.is_symlink():  # to the content, under that name
            return path.resolve().name
        url = huggingface_hub.hf_hub_url(self.repository, name, revision=self.commit)
        with as_os_errors():
            return huggingface_hub.get_hf_file_metadata(url, token=self.token).etag or ""

    def _noted(self, path: Path) -> Path:
        """Note in the cache, with the first file that is there, which commit the revision means: for offline times."""
        if self._to_note:
            self._to_note = False
            with contextlib.suppress(OSError):  # a cache that may only be read does without
                self._note().parent.mkdir(parents=True, exist_ok=True)
                handle, temporary = tempfile.mkstemp(dir=self._folder())
                with open(handle, "w", encoding="utf-8") as file:
                    file.write(str(self.commit))
                os.replace(temporary, self._note())
        return path

    def _mark(self, name: str) -> None:
        """Mark in the cache, as the Hub's library does, what the commit has not: who loads it again need not ask."""
        mark = self._folder() / ".no_exist" / str(self.commit) / name
        with contextlib.suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def _note(self) -> Path:
        return self._folder() / "refs" / self.revision

    # ------------------------------------------------------------------------------------------ messages

    def _not_to_be_had(self, error: Exception) -> str:
        offline = "offline: HF_HUB_OFFLINE is set" if huggingface_hub.constants.HF_HUB_OFFLINE else "offline?"
        refs = self._folder() / "refs"
        there = sorted(note.relative_to(refs).as_posix() for note in refs.rglob("*") if note.is_file())
        kept = f"; of its revisions the cache has {', '.join(there)}, but not {self.revision!r}" if there else ""
        why = "" if self.cached_only else f": {error.__cause__ or error}"
        return (
            f"there is no directory {self.repository!r}, and the Hub repository of that name is neither in the cache "
            f"nor to be had now ({offline}){kept if self.commit is None else ''}{why}"
        )

    def _refused(self, error: Exception) -> str:
        kinds, name = huggingface_hub.errors, self.repository
        if isinstance(error, kinds.RevisionNotFoundError):
            return f"the Hub repository {name!r} has no revision {self.revision!r}: no such branch, tag or commit"
        if isinstance(error, kinds.GatedRepoError):
            return f"the Hub repository {name!r} is gated: ask for access on its page, then {GIVE_TOKEN}"
        if isinstance(error, kinds.RepositoryNotFoundError) or status_of(error) == 401:
            known = self.token or (self.token is None and huggingface_hub.get_token())
            private = "the token may not read it" if known else f"it is private: then {GIVE_TOKEN}"
            return f"there is no directory {name!r}, and no such Hub repository; or there is one, and {private}"
        return f"there is no directory {name!r}, and the Hub repository of that name is not to be had: {error}"

    def whereabouts(self) -> str:
        """Where files were looked for, and which there are, for a message."""
        if self.cached_only:
            folder = self._folder() / "snapshots" / str(self.commit)
            there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
            return f"it was looked for in the Hub's cache alone, which has {_shown(there)}; the Hub could not be asked"
        if self.files is None:
            return UNKNOWN
        return f"it was looked for on the Hub, where there is {_shown(self.files)}"


UNKNOWN = "it was looked for on the Hub or, if that could not be reached, in its cache"
GIVE_TOKEN = "give a token, by token=…, by HF_TOKEN or by logging in"


def _shown(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return (", ".join(ordered[:_SHOWN]) or "nothing") + more


def status_of(error: Exception) -> int | None:
    """The number of the answer that an error came of; None where there was none."""
    return getattr(getattr(error, "response", None), "status_code", None)


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """Errors of the network within are OSErrors, whatever the Hub's library sends its requests with.

    Since its version 1 it sends them with httpx, whose errors are none.

    Raises:
        ConnectionError: the Hub was not reached, or what it sent broke off.
    """
    try:
        yield
    except Exception as error:
        httpx = sys.modules.get("httpx")  # where it was never imported, no error is one of its own
        if httpx is None or isinstance(error, OSError) or not isinstance(error, httpx.HTTPError):
            raise
        raise ConnectionError(f"the Hub was not reached, or what it sent broke off: {error}") from error


def _leaves_the_cache(error: Exception) -> bool:
    """Whether the cache is the next best: the Hub is not reached, is broken, or lets the token see nothing."""
    if isinstance(error, huggingface_hub.errors.RepositoryNotFoundError):
        return True
    known = isinstance(error, huggingface_hub.errors.HfHubHTTPError)
    code = status_of(error) or 500
    return not known or code in (401, 403) or code >= 500


def check_whole(path: Path, told: str, what: str) -> None:
    """Check a file of the cache that has just come, if what the Hub told of its content is a SHA-256.

    Raises:
        OSError: it is damaged. It is in the cache no longer.
    """
    if not _SHA256.fullmatch(told):
        return
    blob, digest = path.resolve(), hashlib.sha256()
    with open(blob, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != told:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise OSError(
            f"{what} was damaged on its way: its SHA-256 is {digest.hexdigest()}, not {told}. It was not kept: "
            "try again"
        )


# ---------------------------------------------------------------------------------------------- visits


class Visit:
    """What is known of repositories while something is loaded.

    Args:
        token: what to show the Hub.
    """

    def __init__(self, token: Token = None) -> None:
        self.token = token
        self._pinned: dict[tuple[str, str], Pinned] = {}

    def find(self, repository: str, name: str, revision: str | None = None) -> Path | None:
        """A file's place in the cache, to which it is downloaded where it is not there. See `Pinned.find`.

        Raises:
            FileNotFoundError: there is no such repository, or it may not be read.
            OSError: the download failed, or is damaged.
        """
        at = (repository, revision or huggingface_hub.constants.DEFAULT_REVISION)
        if at not in self._pinned:
            self._pinned[at] = Pinned(*at, self.token)
        try:
            return self._pinned[at].find(name)
        except huggingface_hub.errors.HFValidationError as error:
            raise FileNotFoundError(
                f"there is no directory {repository!r}, and no Hub repository can be called that: {error}"
            ) from error

    def whereabouts(self, repository: str) -> str:
        """Where a repository's files were looked for, and which there are, for a message."""
        seen = [pinned for (name, _), pinned in self._pinned.items() if name == repository]
        return seen[-1].whereabouts() if seen else UNKNOWN


_VISIT: ContextVar[Visit | None] = ContextVar("visit", default=None)


@contextlib.contextmanager
def visit(token: Token = None) -> Iterator[None]:
    """Whatever is found within is of one commit for each repository and revision, and asked for with this token.

    Blocks may be nested; the outermost counts, unless an inner one has another token.
    """
    outer = _VISIT.get()
    if outer is not None and (token is None or token == outer.token):
        yield
        return
    mark = _VISIT.set(Visit(token))
    try:
        yield
    finally:
        _VISIT.reset(mark)


def here() -> Visit:
    """The visit that this is within; a new one where there is none."""
    return _VISIT.get() or Visit()
