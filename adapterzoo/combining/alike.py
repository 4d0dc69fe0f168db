"""What adapters that are combined must have in common, and which of their tensors are factors of an update B·A."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterzoo.adapter import Adapter
from adapterzoo.methods.base import AdapterConfig

NOT_COMPARED = ("dropout", "init_weights", "init_weights_seed")
"""Fields of configs in which adapters that are combined may differ: the new one has the first one's."""

A, B = "lora_A", "lora_B"


def check_alike(configs: Mapping[str, AdapterConfig], but: tuple[str, ...] = ()) -> None:
    """Check that adapters have one config.

    Args:
        configs: the adapters' configs by name.
        but: fields in which they may differ, beside those that are never compared.

    Raises:
        ValueError: one's config differs from the first's; everything in which it does is told.
    """
    (first, config), *others = configs.items()
    wanted = _flat(config.to_dict(), {*NOT_COMPARED, *but})
    for name, other in others:
        own = _flat(other.to_dict(), {*NOT_COMPARED, *but})
        apart = [
            f"{key} is {own.get(key, 'not there')!r}, not {wanted.get(key, 'not there')!r}"
            for key in {**wanted, **own}
            if own.get(key) != wanted.get(key)
        ]
        if apart:
            raise ValueError(f"adapter {name!r} cannot be combined with {first!r}: its " + "; its ".join(apart))


def _flat(config: Any, but: set[str], path: str = "") -> dict[str, Any]:
    """A config's fields, those of a union's members by "0.r"."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key == "configs":
            for number, member in enumerate(value):
                found |= _flat(member, but, f"{number}.")
        elif key not in but:
            found[path + key] = value
    return found


def pairs_in(adapter: Adapter) -> tuple[set[str], set[str]]:
    """The names of an adapter's tensors that are A, and of those that are B, of an update B·A."""
    names = set(adapter.state_dict())
    stems = {name.removesuffix(A) for name in names if name.endswith(f".{A}")}
    stems = {stem for stem in stems if stem + B in names}
    return {stem + A for stem in stems}, {stem + B for stem in stems}
