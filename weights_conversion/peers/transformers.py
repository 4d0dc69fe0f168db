"""A checkpoint as transformers runs it."""

from __future__ import annotations

from typing import Any

import transformers

from weights_conversion.peers.files import Asked, answer


def load(asked: Asked) -> Any:
    """The checkpoint in its class."""
    return getattr(transformers, asked.class_name).from_pretrained(asked.source)


if __name__ == "__main__":
    answer(load)
