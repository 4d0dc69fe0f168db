"""The architectures that can be a part of an encoder-decoder of two encoders."""

from __future__ import annotations

from adapterzoo.archs import ARCHITECTURES

ENCODERS = [
    kind for kind in ARCHITECTURES.values() if kind.specialise is None and kind.network(kind.config()).decoder is None
]
