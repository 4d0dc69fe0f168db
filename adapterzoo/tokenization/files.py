"""The files of a tokenizer: where they are, what is in them, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterzoo import store
from adapterzoo.core.fields import fits
from adapterzoo.core.registry import listing
from adapterzoo.store import Source
from adapterzoo.writing import together

TOKENIZER = "tokenizer.json"
WORDPIECE = "vocab.txt"
BPE_VOCAB = "vocab.json"
BPE_MERGES = "merges.txt"
CONFIG = "tokenizer_config.json"
SPECIALS = "special_tokens_map.json"
ADDED = "added_tokens.json"

MOST_TOKENS = 1 << 22
"""Ids are below this: in between, there may be such as no token has, but each takes memory."""


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
        FileError: the file is cut short or otherwise no JSON object.
    """
    return {} if path is None else store.read_json(path)


def read_vocab(path: Path) -> dict[str, int]:
    """The tokens of a `vocab.txt` with their line numbers; of one that is there twice, the later counts."""
    lines = read_text(path).split("\n")
    if lines[-1] == "":  # what follows the last line end is no line
        lines.pop()
    if not lines:
        raise ValueError(f"{path} is empty")
    return {token: number for number, token in enumerate(lines)}


def check_ids(path: Path, vocabulary: dict[str, Any]) -> None:
    """Check that a file's vocabulary gives each token an id of its own, and none so large that there cannot be as many.

    Raises:
        FileError: it does not.
    """
    if not fits(vocabulary, Mapping[str, int]):
        raise store.FileError(f"{path} should hold a whole number for each token")
    ids = vocabulary.values()
    if ids and not 0 <= min(ids) <= max(ids) < MOST_TOKENS:
        raise store.FileError(f"{path}: ids must be from 0 to below {MOST_TOKENS:,}, not {min(ids)} or {max(ids)}")
    if len(set(ids)) < len(vocabulary):
        raise store.FileError(f"{path} gives one id to several tokens")


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
    with together():
        store.write_json(target / CONFIG, config)
        store.write_json(target / SPECIALS, specials)
        store.write_text(target / TOKENIZER, text)
    return tuple(str(target / name) for name in (CONFIG, SPECIALS, TOKENIZER))
