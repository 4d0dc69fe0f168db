"""AdapterSetup: which adapters and heads act within a `with` block, in this thread alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple

from adapterzoo.core.compose import AdapterCompositionBlock, Setup, parse_composition


class Scope(NamedTuple):
    """What an AdapterSetup asks for.

    Attributes:
        adapters: the composition.
        heads: a head's name, a block of names, a list of names, or None: the adapters' names, where such heads are.
    """

    adapters: AdapterCompositionBlock | None
    heads: Setup


_SCOPES: ContextVar[tuple[Scope | None, ...]] = ContextVar("adapter_setups", default=())
"""What the AdapterSetups that this thread is in ask for, the innermost last."""


_SKIPPED: ContextVar[tuple[tuple[int, ...], ...]] = ContextVar("skip_layers", default=())
"""The layers that this thread leaves out, the innermost demand last."""


def current_skip() -> tuple[int, ...] | None:
    """The layers in which nothing is to act in this thread; None: what the model says."""
    skipped = _SKIPPED.get()
    return skipped[-1] if skipped else None


class SkipLayers:
    """Layers in which nothing acts in the forwards within a `with` block, in this thread alone.

    Args:
        layers: their numbers; a decoder's go on after the encoder's.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)

    def __enter__(self) -> SkipLayers:
        _SKIPPED.set((*_SKIPPED.get(), self.layers))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _SKIPPED.set(_SKIPPED.get()[:-1])


def current_scope() -> Scope | None:
    """What the innermost AdapterSetup of this thread asks for; None outside of any."""
    scopes = _SCOPES.get()
    return scopes[-1] if scopes else None


class AdapterSetup:
    """Adapters and heads for the forwards within a `with` block, before what the model has active.

    Each thread (and each asyncio task) has its own. Blocks may be nested; the innermost counts.

    Args:
        adapter_setup: the composition; None for the bare model.
        head_setup: the head or heads; None for those named like the adapters, where there are such.
        ignore_empty: whether an empty `adapter_setup` leaves what is active as it is.
        skip_layers: layers in which nothing acts (AdapterDrop); if None, those of a block around this one, or the
            model's own where there is none.

    Example:
        >>> with AdapterSetup(Stack("en", "sst2")):
        ...     model(**batch)
    """

    def __init__(
        self,
        adapter_setup: Setup,
        head_setup: Setup = None,
        ignore_empty: bool = False,
        *,
        skip_layers: Sequence[int] | None = None,
    ) -> None:
        parsed = parse_composition(adapter_setup)
        self._skip = None if skip_layers is None else SkipLayers(skip_layers)
        self._scope = None if parsed is None and ignore_empty else Scope(parsed, head_setup)

    def __enter__(self) -> AdapterSetup:
        _SCOPES.set((*_SCOPES.get(), current_scope() if self._scope is None else self._scope))
        if self._skip is not None:
            self._skip.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._skip is not None:
            self._skip.__exit__(kind, error, trace)
        _SCOPES.set(_SCOPES.get()[:-1])
