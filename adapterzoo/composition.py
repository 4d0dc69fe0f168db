"""The composition blocks under the name that AdapterHub's library has for them."""

from __future__ import annotations

from adapterzoo.core.compose import (
    AdapterCompositionBlock,
    Average,
    BatchSplit,
    Fuse,
    MultiTask,
    Parallel,
    Split,
    Stack,
    check_composition,
    parse_composition,
)

__all__ = [
    "AdapterCompositionBlock",
    "Average",
    "BatchSplit",
    "Fuse",
    "MultiTask",
    "Parallel",
    "Split",
    "Stack",
    "parse_composition",
    "validate_composition",
]


def validate_composition(adapter_composition: AdapterCompositionBlock) -> None:
    """Check that a composition has a meaning, whatever its adapters are. Setting it checks that, and what these ask.

    Raises:
        ValueError: it has none; the message says why.
    """
    check_composition(adapter_composition)
