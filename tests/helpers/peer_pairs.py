"""Encoder-decoders of two encoders to compare with the peer `adapters`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.hf_models import Case, small_config
from tests.helpers.peer_adapters import models, save_hf

PAIR = ARCHITECTURES["encoder-decoder"]

BLIND = {"bert-generation", "electra"}
"""Decoders that see the encoder's padding in the peer (test_differences_pairs)."""


def pair_of(encoder: Architecture, decoder: Architecture, folder: Path) -> tuple[Any, Any]:
    """Return the peer's pair of two such parts, and ours with the same weights."""
    decodes = {"is_decoder": True, "add_cross_attention": True}
    parts = {"encoder": small_config(encoder), "decoder": small_config(decoder, **decodes)}
    changes = {name: part.to_dict() for name, part in parts.items()}
    return models(PAIR, save_hf(Case(PAIR, None), folder, **changes))
