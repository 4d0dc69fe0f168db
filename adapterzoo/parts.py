"""An encoder-decoder made of two checkpoints, whose tensors get the names that they have in the pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from adapterzoo.archs.base import ARCHITECTURES, Architecture
from adapterzoo.archs.config import ModelConfig
from adapterzoo.fit import fit
from adapterzoo.formats import hf
from adapterzoo.pretrained import dtype_for, fill, read_config
from adapterzoo.store import Source


def load(
    cls: Any, encoder: Source, decoder: Source, allow_pickle: bool, dtype: torch.dtype | str | None, changes: Any
) -> Any:
    """See `AdaptedModel.from_encoder_decoder_pretrained`."""
    if cls.architecture.specialise is None:
        raise TypeError(f"{cls.__name__} is no pair of two networks; EncoderDecoderModel and its AdapterModel are")
    configs = {"encoder": read_config(encoder), "decoder": read_config(decoder)}
    config = cls.architecture.config(**configs, **changes)
    model = cls(config, initialise=False)
    static = model.architecture.static(model.architecture.class_name(), config)
    tensors = {
        name: tensor
        for (role, part), source in zip(configs.items(), (encoder, decoder), strict=True)
        for name, tensor in _named(role, part, static.keymap, source, allow_pickle)
    }
    target = model.head_target(static, {})
    found = fit(model, target, tensors, new=_is_new)
    fill(model, target[0] if target else None, found, tensors, dtype_for(dtype, tensors, found))
    return model.eval()


def _named(
    role: str, config: ModelConfig, head: Any, source: Source, allow_pickle: bool
) -> Iterator[tuple[str, Tensor]]:
    """A part's tensors under the names that the pair's checkpoints have for them."""
    kind: Architecture = ARCHITECTURES[config.model_type]
    stem = kind.stem if role == "decoder" else ""
    for key, tensor in hf.open_checkpoint(source, allow_pickle).items():
        name = hf.modern(key)
        bare = name.removeprefix(kind.stem)
        target = kind.keymap.to_ours(bare)
        if target is not None and not (role == "decoder" and target.ours.startswith("pooler.")):
            yield f"{role}.{stem}{bare}", tensor
        elif target is None and head.to_ours(f"{role}.{name}") is not None:
            yield f"{role}.{name}", tensor


def _is_new(name: str) -> bool:
    return ".cross" in name or name.startswith("base.bridge.")
