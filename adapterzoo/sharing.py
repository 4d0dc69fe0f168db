"""Parameters that several adapters have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from adapterzoo.adapter import Adapter
from adapterzoo.combining.alike import check_alike
from adapterzoo.core.compose import AdapterCompositionBlock, names_in
from adapterzoo.core.registry import UnknownName, listing, unknown
from adapterzoo.pool import AdapterPool, Share

PARAMETERS = ("lora_A", "lora_B")
"""What adapters share unless told otherwise: what is no task's own in MTL-LoRA."""


def share(
    pool: AdapterPool,
    which: AdapterCompositionBlock | Sequence[str] | str,
    name: str | None,
    reference: str | None,
    patterns: str | Sequence[str],
) -> None:
    """See `ManagedModel.share_parameters`."""
    names = _names(which)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"name two or more different adapters that shall share parameters, not {list(names)}")
    check_alike({one: pool[one].config for one in names})
    reference = names[0] if reference is None else reference
    if reference not in names:
        raise ValueError(unknown("adapter among those that shall share parameters named", reference, names))
    parameters = _matching(pool[reference], (patterns,) if isinstance(patterns, str) else tuple(patterns))
    title = ",".join(names) if name is None else name
    if title in pool.shares:
        raise ValueError(f"there are already shared parameters named {title!r}; unshare_parameters parts them")
    taken = [one for one in names for other in pool.shares.values() if one in other.adapters]
    if taken:
        raise ValueError(f"{listing(set(taken))}: shares parameters already; unshare_parameters first")
    tie(pool, title, Share(names, parameters), reference)


def tie(pool: AdapterPool, title: str, shared: Share, reference: str) -> None:
    """Give all the same parameters: copies of one's."""
    source = dict(pool[reference].named_parameters())
    for parameter in shared.parameters:
        old = source[parameter]
        new = nn.Parameter(old.detach().clone(), old.requires_grad)
        for name in shared.adapters:
            _set(pool[name], parameter, new)
    pool.shares = {**pool.shares, title: shared}


def unshare(pool: AdapterPool, which: AdapterCompositionBlock | Sequence[str] | str, name: str | None) -> None:
    """See `ManagedModel.unshare_parameters`."""
    title = ",".join(_names(which)) if name is None else name
    if title not in pool.shares:
        raise UnknownName(unknown("shared parameters named", title, pool.shares))
    shared = pool.shares[title]
    for adapter in shared.adapters:
        own = dict(pool[adapter].named_parameters())
        for parameter in shared.parameters:
            old = own[parameter]
            _set(pool[adapter], parameter, nn.Parameter(old.detach().clone(), old.requires_grad))
    pool.shares = {key: value for key, value in pool.shares.items() if key != title}


def to_plain(pool: AdapterPool) -> dict[str, Any]:
    """What is shared, as JSON holds it."""
    return {
        title: {"adapters": list(shared.adapters), "parameters": list(shared.parameters)}
        for title, shared in pool.shares.items()
    }


def from_plain(pool: AdapterPool, plain: Mapping[str, Any]) -> None:
    """Share what was shared."""
    for title, entry in plain.items():
        tie(pool, title, Share(tuple(entry["adapters"]), tuple(entry["parameters"])), entry["adapters"][0])


def _names(which: AdapterCompositionBlock | Sequence[str] | str) -> tuple[str, ...]:
    if isinstance(which, AdapterCompositionBlock):
        return tuple(names_in(which))
    return tuple(which.split(",")) if isinstance(which, str) else tuple(which)


def _matching(adapter: Adapter, patterns: tuple[str, ...]) -> tuple[str, ...]:
    known = dict(adapter.named_parameters())
    last = {name: name.rpartition(".")[2] for name in known}
    found = tuple(name for name in known for one in patterns if fnmatchcase(last[name], one) or fnmatchcase(name, one))
    if not found:
        raise ValueError(unknown("parameter named", " or ".join(patterns), set(last.values())))
    return tuple(dict.fromkeys(found))


def _set(adapter: Adapter, name: str, parameter: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(adapter.get_submodule(owner), leaf, parameter)
