"""Repositories as the Hub keeps them: commits, branches, large files apart, who may read; in memory, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

LARGE = (".safetensors", ".bin", ".pt")
"""Files that the Hub keeps apart, under their SHA-256."""

READER, WRITER, STRANGER = "reader", "writer", "stranger"
"""Tokens: one that may read what is private, one that may write as well, one that may neither."""


class Repository:
    """One repository.

    Args:
        private: whether a token is needed to read it.

    Attributes:
        refs: commits by branch.
        commits: the files of each commit.
        gated: whether its files need permission, though all may see that it is there.
        messages: what the commits say.
    """

    def __init__(self, private: bool = False) -> None:
        self.private, self.gated = private, False
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs: dict[str, str] = {}
        self.messages: list[tuple[str, str]] = []
        self.add("main", {".gitattributes": b""}, "initial commit")

    def add(self, branch: str, changes: Mapping[str, bytes | None], message: str = "", text: str = "") -> str:
        """Commit files to a branch, None for one that goes, and return the commit."""
        changed = {**self.files(branch), **changes} if branch in self.refs else changes
        files = {name: body for name, body in changed.items() if body is not None}
        told = repr((len(self.commits), branch, message, sorted(files)))
        commit = hashlib.sha1(told.encode()).hexdigest()
        self.commits[commit], self.refs[branch] = files, commit
        self.messages.append((message, text))
        return commit

    def add_folder(self, branch: str, folder: Path) -> str:
        """Commit a folder's files to a branch."""
        found = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return self.add(branch, {path.relative_to(folder).as_posix(): path.read_bytes() for path in found})

    def commit_of(self, revision: str) -> str | None:
        """The commit that a revision means."""
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The files of a revision."""
        return self.commits[str(self.commit_of(revision))]

    def readable(self, token: str | None) -> bool:
        """Whether a token may see it."""
        return not self.private or token in (READER, WRITER)

    def info(self, name: str, revision: str = "main") -> dict[str, Any]:
        """What the Hub tells of it: from its card, and from its adapter's config."""
        files = self.files(revision)
        text = files.get("README.md", b"").decode()
        card = huggingface_hub.ModelCard(text).data.to_dict() if text.startswith("---") else {}
        library = [card["library_name"]] if "library_name" in card else []
        told: dict[str, Any] = {
            "id": name,
            "modelId": name,
            "sha": self.commit_of(revision),
            "private": self.private,
            "siblings": [{"rfilename": path} for path in sorted(files)],
            "tags": [*library, *card.get("tags", [])],
            "cardData": card,
        }
        if "adapter_config.json" in files:
            content = json.loads(files["adapter_config.json"])
            names = {key: content[key] for key in ("model_name", "model_class") if key in content}
            told["config"] = {"adapter_transformers": names}
        return told


def etag(path: str, body: bytes) -> str:
    """What the Hub calls a file's content: its SHA-256 if it is large, else git's hash of it."""
    if path.endswith(LARGE):
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
