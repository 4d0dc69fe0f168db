"""An adapter as PEFT runs it."""

from __future__ import annotations

from typing import Any

import peft
import transformers

from weights_conversion.peers.files import Asked, answer


def load(asked: Asked) -> Any:
    """The base in the head's class, with the adapter active."""
    model = getattr(transformers, asked.class_name).from_pretrained(asked.base, **asked.fields)
    return peft.PeftModel.from_pretrained(model, asked.source)


if __name__ == "__main__":
    answer(load)
