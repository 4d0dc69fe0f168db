"""AdapterSetup: which adapters and heads act within a `with` block, in this thread alone."""

from __future__ import annotations

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

    Example:
        >>> with AdapterSetup(Stack("en", "sst2")):
        ...     model(**batch)
    """

    def __init__(self, adapter_setup: Setup, head_setup: Setup = None, ignore_empty: bool = False) -> None:
        parsed = parse_composition(adapter_setup)
        self._scope = None if parsed is None and ignore_empty else Scope(parsed, head_setup)

    def __enter__(self) -> AdapterSetup:
        _SCOPES.set((*_SCOPES.get(), current_scope() if self._scope is None else self._scope))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _SCOPES.set(_SCOPES.get()[:-1])
