"""Which library wrote a file, and in which version, as far as the file tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_FIRST = (
    "attention_text_task_adapters",
    "attention_text_lang_adapters",
    "layer_text_task_adapters",
    "layer_text_lang_adapters",
    "invertible_lang_adapters",
)
"""Parts of tensors' names that adapter-transformers had in version 1 alone."""


def origin(content: Mapping[str, Any], keys: Iterable[str] = ()) -> dict[str, Any]:
    """What one of AdapterHub's files says of who wrote it, and beside which model; see `of_adapterhub`."""
    return {
        "version": content.get("version"),
        "library": of_adapterhub(content, keys),
        "made_for": {key: content.get(key) for key in ("model_class", "model_name")},
    }


def of_adapterhub(content: Mapping[str, Any], keys: Iterable[str] = ()) -> str:
    """What wrote one of AdapterHub's files.

    Args:
        content: what its JSON holds. Since adapter-transformers 3.0.1 at the latest it has a "version"; the first ones
            have the "type" of adapter that a file is for instead.
        keys: the names of its tensors.
    """
    version = content.get("version")
    if isinstance(version, str) and version:
        name, _, number = version.rpartition("adapters.")
        return f"adapters {number}" if version != number and not name else f"adapter-transformers {version}"
    first = "type" in content or any(part in _FIRST for key in keys for part in key.split("."))
    return "adapter-transformers 1" if first else "adapter-transformers before 3.0.1"


def named(library: str, version: Any) -> str | None:
    """A library and its version; None where a file does not tell it."""
    return f"{library} {version}" if isinstance(version, str) and version else None
