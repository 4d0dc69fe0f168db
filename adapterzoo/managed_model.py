"""A model whose adapters can be merged, averaged, renamed, copied, moved and swapped."""

from __future__ import annotations

from adapterzoo.fused_model import FusedModel


class ManagedModel(FusedModel):
    """An adapted model with all that is done to adapters as a whole."""
