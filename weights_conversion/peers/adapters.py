"""An adapter as AdapterHub's library runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import adapters

from weights_conversion.peers.files import Asked, answer


def load(asked: Asked) -> Any:
    """The base with the adapter, and the head beside it, active."""
    model = adapters.AutoAdapterModel.from_pretrained(asked.base)
    has_head = Path(asked.source, "head_config.json").is_file()
    model.load_adapter(asked.source, set_active=True, with_head=has_head, use_safetensors=True)
    if any(head.config["head_type"] == "dependency_parsing" for head in model.heads.values()):
        model.config.pad_token_id = -1  # which stands where no word is; no word must begin there
    return model


if __name__ == "__main__":
    answer(load)
