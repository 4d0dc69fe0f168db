"""Our words for an adapter and its head, in PEFT's files: they stand where safetensors files have room for any text.

PEFT does not look there, and leaves it out of what it writes. No number hangs on it: a note is heeded where PEFT's
words for what it says are those of the file, and without one these are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapterzoo.archs.base import Architecture
from adapterzoo.core.config import NetworkConfig
from adapterzoo.formats.peft.config import kind_for, read_config, write_config
from adapterzoo.methods.base import AdapterConfig, config_from_dict
from adapterzoo.store import FileError, parse_json

NAME = "adapterzoo"
"""What a note is called."""


def write_note(config: AdapterConfig, head: Mapping[str, Any] | None) -> dict[str, str]:
    """The note that goes into a file.

    Args:
        config: the adapter's; of it, what can be had again of the tensors is written.
        head: the config of the head beside it; None if there is none.

    Raises:
        ValueError: PEFT has nothing that computes the same.
    """
    said: dict[str, Any] = {"config": kind_for(config)[1].kept(config).to_dict()}
    return {NAME: json.dumps(said if head is None else {**said, "head": head}, sort_keys=True, ensure_ascii=False)}


def read_note(texts: Mapping[str, str]) -> dict[str, Any]:
    """What the note says that is among a safetensors file's texts; nothing where none is, or none that can be read."""
    try:
        return parse_json(texts.get(NAME, "{}"), NAME)
    except FileError:
        return {}


def noted(
    note: Mapping[str, Any], config: AdapterConfig, architecture: Architecture, network: NetworkConfig
) -> AdapterConfig | None:
    """The config that a file's note says; None where there is none that PEFT would say in the file's words.

    Args:
        note: see `read_note`.
        config: what the file says in PEFT's words.
        architecture: of the model.
        network: the model's numbers.
    """
    said = note.get("config")
    if not isinstance(said, Mapping):
        return None
    try:
        found = config_from_dict(said)
        again = read_config(write_config(found, architecture, network), architecture, network)
    except ValueError:
        return None
    return found if again == config else None
