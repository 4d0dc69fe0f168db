"""A model with AdapterFusions, and setups that lie in files as one."""

from __future__ import annotations

from adapterzoo.adapted_model import AdaptedModel


class FusedModel(AdaptedModel):
    """An adapted model whose adapters can be fused."""
