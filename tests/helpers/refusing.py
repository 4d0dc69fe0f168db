"""Bad input in tests: the error says what was wrong, and everything is as it was before."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


def state_of(model: Any) -> dict[str, Any]:
    """Everything about a model that a call which fails must leave alone."""
    return {
        "tensors": {
            name: (tensor.dtype, tensor.requires_grad, tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
            for name, tensor in model.state_dict(keep_vars=True).items()
        },
        "modes": {name: module.training for name, module in model.named_modules()},
        "adapters": {name: (id(adapter), adapter.config) for name, adapter in model.adapters.items()},
        "active": (model.active_adapters, model.adapters.skip_layers, model.adapters.merged),
        "embeddings": (model.active_embeddings, list(model.loaded_embeddings)),
        "heads": {name: (id(head), copy.deepcopy(head.config)) for name, head in model.heads_of().items()},
        "active head": getattr(model, "active_head", None),
        "custom heads": dict(getattr(model, "custom_heads", {})),
        "config": copy.deepcopy(model.config.to_dict()),
    }


def files_of(folder: Path) -> dict[str, bytes | None]:
    """Every file of a folder with its content, hidden ones included; folders have none."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextlib.contextmanager
def refuses(
    error: type[BaseException] | tuple[type[BaseException], ...],
    *words: str,
    model: Any = None,
    folder: Path | None = None,
) -> Iterator[None]:
    """What runs within fails, its message holds all the words, and the model and the folder are as before.

    Args:
        error: what is raised.
        words: what the message must say.
        model: whose state must not change.
        folder: whose files must not change.
    """
    before = None if model is None else state_of(model), None if folder is None else files_of(folder)
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    unsaid = [word for word in words if word not in message]
    assert not unsaid, f"{unsaid} is not in: {message}"
    if model is not None:
        for what, value in state_of(model).items():
            assert value == before[0][what], f"{what} changed"
    if folder is not None:
        assert files_of(folder) == before[1]
