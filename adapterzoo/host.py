"""What the functions behind a model's methods may ask of it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from adapterzoo.archs.base import Architecture, StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.registry import NamedModules
from adapterzoo.embedding_pool import EmbeddingPool
from adapterzoo.fusion import Fusion
from adapterzoo.nn.transformer import Transformer
from adapterzoo.pool import AdapterPool
from adapterzoo.store import Source


class Host(Protocol):
    """A model, seen from the functions that work on it."""

    architecture: Architecture
    static: StaticHead | None
    config: ModelConfig
    base: Transformer
    adapters: AdapterPool
    fusions: NamedModules[Fusion]
    embeddings: EmbeddingPool
    padding_free: bool

    def heads_of(self) -> dict[str, nn.Module]:
        """Its heads by name."""

    def head_target(
        self, checkpoint: StaticHead | None, options: dict[str, Any]
    ) -> tuple[nn.Module, StaticHead] | None:
        """The head that a checkpoint's head tensors belong to, and whose table names them."""

    def write_head(self, directory: Source, name: str) -> None:
        """Write the head that belongs to an adapter, if there is one."""

    def head_reader(
        self, directory: Source, name: str, allow_pickle: bool, revision: str | None, id2label: Any = None
    ) -> Any:
        """Read the head beside an adapter; returns what puts it in place, or None."""

    def head_placer(self, file: Any, name: str, id2label: Any = None) -> Any:
        """Make a head of its files, read; returns what puts it in place, or None."""

    def set_active_adapters(self, adapter_setup: Any, skip_layers: Any = None) -> None:
        """Make a setup the active one."""

    def train(self, mode: bool = True) -> Any:
        """Switch to train mode."""
