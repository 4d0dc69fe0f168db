"""The files of a tokenizer: where they are, what is in them, and how they are written."""

from __future__ import annotations

import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

from adapterzoo.core.registry import listing

Source = str | os.PathLike[str]

TOKENIZER = "tokenizer.json"
WORDPIECE = "vocab.txt"
BPE_VOCAB = "vocab.json"
BPE_MERGES = "merges.txt"
CONFIG = "tokenizer_config.json"
SPECIALS = "special_tokens_map.json"
ADDED = "added_tokens.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def resolve_file(source: Source, name: str, revision: str | None = None) -> Path | None:
    """Where the file `name` of `source` is on this machine; downloads it first where `source` is a Hub id.

    A directory is never looked up on the Hub. Offline (`HF_HUB_OFFLINE=1`) the Hub's cache answers.

    Args:
        source: a directory or a Hub id.
        name: the file's name.
        revision: branch, tag or commit on the Hub.

    Returns:
        The path, or None where `source` has no such file.

    Raises:
        FileNotFoundError: `source` is neither a directory nor a repository that can be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if folder.is_file():
        raise FileNotFoundError(f"{source} is a file; give the directory that it is in")
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise FileNotFoundError(f"there is no directory {source}")
    try:
        return Path(hf_hub_download(source, name, revision=revision))
    except EntryNotFoundError:  # also what a file is that is not in the cache, when offline
        return None
    except (HfHubHTTPError, HFValidationError) as err:
        raise FileNotFoundError(f"there is no directory {source}, nor does the Hub give it: {err}") from err


def missing(source: Source) -> FileNotFoundError:
    """The error for a source that holds no tokenizer: what was looked for, and what is there."""
    looked = f"{TOKENIZER}, {WORDPIECE}, or {BPE_VOCAB} with {BPE_MERGES}"
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return FileNotFoundError(
            f"no tokenizer {str(source)!r}: there is no such directory, and the Hub (offline: its cache) "
            f"has none of {looked}"
        )
    there = listing(entry.name for entry in folder.iterdir())
    return FileNotFoundError(f"no tokenizer in {folder}: looked for {looked}; there are: {there}")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, every line end read as a newline.

    Raises:
        ValueError: the file is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is not UTF-8 text: {err}") from err


def read_json(path: Path | None) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is no file.

    Raises:
        ValueError: the file is cut short or otherwise no JSON object.
    """
    if path is None:
        return {}
    text = read_text(path)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as err:
        raise ValueError(f"{path} is not valid JSON (cut short?): {err}") from err
    if not isinstance(value, dict):
        raise ValueError(f"{path} should hold a JSON object, not a {type(value).__name__}")
    return value


def read_vocab(path: Path) -> dict[str, int]:
    """The tokens of a `vocab.txt` with their line numbers; of one that is there twice, the later counts."""
    lines = read_text(path).split("\n")
    if lines[-1] == "":  # what follows the last line end is no line
        lines.pop()
    if not lines:
        raise ValueError(f"{path} is empty")
    return {token: number for number, token in enumerate(lines)}


def write_all(folder: Source, config: dict[str, Any], specials: dict[str, Any], text: str) -> tuple[str, ...]:
    """Write a tokenizer's three files; the directory is made where it is not there.

    Args:
        folder: the directory.
        config: for `tokenizer_config.json`.
        specials: for `special_tokens_map.json`.
        text: for `tokenizer.json`.

    Returns:
        The paths.
    """
    target = Path(folder).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / CONFIG, config)
    write_json(target / SPECIALS, specials)
    write_text(target / TOKENIZER, text)  # last: with it there, the tokenizer is whole
    return tuple(str(target / name) for name in (CONFIG, SPECIALS, TOKENIZER))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as readable JSON, as `write_text` does."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file such that a reader finds the old one or the new one, whole, whatever happens meanwhile."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
