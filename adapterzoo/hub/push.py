"""Files pushed to a Hub repository in one commit, with a card where there is none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import huggingface_hub

from adapterzoo.formats import adapterhub
from adapterzoo.hub import card
from adapterzoo.hub.fetch import GIVE_TOKEN, Token, as_os_errors, status_of
from adapterzoo.store import write_text
from adapterzoo.writing import together

REPLACED = {*adapterhub.WEIGHTS, adapterhub.HEAD_CONFIG, *adapterhub.HEAD_WEIGHTS}
"""Files that would be loaded with new ones beside them, and so must go if they are not among these."""


class Target(NamedTuple):
    """Where to push to, and how. See `PublishedModel.push_adapter_to_hub`."""

    repo_id: str
    local_path: str | os.PathLike[str] | None = None
    commit_message: str | None = None
    private: bool | None = None
    token: Token = None
    overwrite_adapter_card: bool = False
    create_pr: bool = False
    revision: str | None = None
    commit_description: str | None = None


def push(target: Target, write: Callable[[Path], None], text: Callable[[str], str], message: str) -> str:
    """Write files and push them, in one commit with the card.

    Args:
        target: where to.
        write: writes them into a folder.
        text: the card's text for a repository's id.
        message: the commit's, if the target has none.

    Returns:
        The commit's URL.

    Raises:
        PermissionError: the token may not do that.
        OSError: the Hub cannot be reached, or refuses otherwise.
        ValueError: the repository is public and shall be private.
    """
    with _folder(target.local_path) as folder, _permitted(target.repo_id):
        files = written(folder, write)
        api = huggingface_hub.HfApi(token=target.token)
        repository = api.create_repo(target.repo_id, private=target.private, exist_ok=True).repo_id
        there = _prepared(api, repository, target)
        readme = folder / card.NAME
        if target.overwrite_adapter_card or not (card.NAME in there or readme.exists()):
            files += written(folder, lambda _: write_text(readme, text(repository)))
        elif card.NAME not in there:
            files.append(readme)
        names = {file.relative_to(folder).as_posix(): file for file in files}
        done = api.create_commit(
            repository,
            operations=[
                *(huggingface_hub.CommitOperationAdd(name, str(file)) for name, file in names.items()),
                *(huggingface_hub.CommitOperationDelete(name) for name in replaced(there, names)),
            ],
            commit_message=target.commit_message or message,
            commit_description=target.commit_description,
            revision=target.revision,
            create_pr=target.create_pr,
        )
    return done


def _prepared(api: Any, repository: str, target: Target) -> set[str]:
    """The files that are there, on the branch to push to, which is made if there is none."""
    if target.revision is not None and not target.create_pr and not target.revision.startswith("refs/"):
        api.create_branch(repository, branch=target.revision, exist_ok=True)
    info = api.model_info(repository, revision=target.revision)
    if target.private and not info.private:
        raise ValueError(f"the repository {repository!r} is there already and is public: nothing was pushed")
    return {file.rfilename for file in info.siblings or ()}


def written(folder: Path, write: Callable[[Path], None]) -> list[Path]:
    """Write files into a folder, all or none; returns their places."""
    with together() as pending:
        write(folder)
        return list(dict.fromkeys(path for _, path in pending.files))


def replaced(there: Iterable[str], new: Iterable[str]) -> list[str]:
    """The files in a repository that new ones replace under other names: `pytorch_adapter.bin`, an earlier head."""
    new = set(new)
    folders = {PurePosixPath(name).parent for name in new}
    paths = map(PurePosixPath, there)
    old = (path for path in paths if path.name in REPLACED and path.parent in folders)
    return sorted(path.as_posix() for path in old if path.as_posix() not in new)


@contextmanager
def _folder(given: str | os.PathLike[str] | None) -> Iterator[Path]:
    """The folder to write to: the given one, or one that is there only meanwhile."""
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def _permitted(repository: str) -> Iterator[None]:
    """Tells in plain words that the token may not do what is done within."""
    try:
        with as_os_errors():
            yield
    except huggingface_hub.errors.HfHubHTTPError as error:
        if status_of(error) in (401, 403):
            message = f"the Hub does not let us write to {repository!r}: {GIVE_TOKEN} that may write there ({error})"
            raise PermissionError(message) from error
        raise
