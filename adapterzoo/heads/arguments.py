"""What a call brings for heads beside the network's input: labels, for all heads or an entry for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from adapterzoo.core.registry import unknown
from adapterzoo.heads.base import HEADS, PredictionHead


def for_head(given: Mapping[str, Any], heads: Sequence[PredictionHead | None], number: int) -> dict[str, Any]:
    """The arguments of one head: what is given for all, and its own entry of what is given for each.

    Args:
        given: the arguments. Where there are several heads, a dict holds entries by their names, a list one for each in
            their order; None is no entry. Of a single built-in head, a dict does so, too.
        heads: the heads that run, in order; None where rows have no head.
        number: which of them.
    """
    found, head = {}, heads[number]
    for name, value in given.items():
        own = entry(value, heads, number) if head is not None and is_for_each(value, heads) else value
        if own is not None:
            found[name] = own
    return found


def entry(value: Any, heads: Sequence[PredictionHead | None], number: int) -> Any:
    """A head's entry of an argument that has one for each; None where it has none."""
    head = heads[number]
    if isinstance(value, Mapping):
        return None if head is None else value.get(head.name)
    return value[number]


def is_for_each(value: Any, heads: Sequence[PredictionHead | None]) -> bool:
    """Whether an argument has an entry for each head. What a single custom head takes is its own affair."""
    several = len(heads) > 1
    return (is_list(value) and several) or (isinstance(value, Mapping) and (several or _is_built_in(heads[0])))


def is_list(value: Any) -> bool:
    """Whether it is a list of things in order."""
    return isinstance(value, (list, tuple))


def _is_built_in(head: PredictionHead | None) -> bool:
    return head is not None and HEADS.get(head.head_type) is type(head)


def check_arguments(
    model: str,
    network: Iterable[str],
    heads: Sequence[PredictionHead | None],
    given: Mapping[str, Any],
    by_name: bool = False,
) -> None:
    """Check the arguments of a call that the network does not read: each head must read those that it is given.

    Args:
        model: the name of the model's class.
        network: the arguments that the network reads.
        heads: the heads that will run, in order; None where rows have no head. Custom ones may read anything.
        given: the arguments.
        by_name: whether the caller does not know the heads' order, only their names.

    Raises:
        TypeError: a head does not read one, or there is no head; or one is no tensor.
        ValueError: a head lacks one that it needs, or entries are not for the heads that run.
    """
    if torch.compiler.is_compiling():
        return
    there = [head for head in heads if head is not None]
    for name, value in given.items():
        if not there and name in _read_by_any():
            raise TypeError(f"{model} has no active head, which is what reads {name!r}")
        if not there:
            raise TypeError(unknown(f"argument of {model} named", name, network))
        for head, own in _entries(name, value, heads, by_name):
            _check_one(model, network, head, name, own)
    for number, one in enumerate(heads):
        if one is not None:
            lost = [name for name in one.needs if name not in for_head(given, heads, number)]
            if lost:
                raise ValueError(f"the {one.head_type} head {one.name!r} needs {' and '.join(lost)}")


def _entries(
    name: str, value: Any, heads: Sequence[PredictionHead | None], by_name: bool
) -> Iterator[tuple[PredictionHead, Any]]:
    """Each head with what it is given."""
    known = {head.name: head for head in heads if head is not None}
    if not is_for_each(value, heads):
        yield from ((head, value) for head in known.values())
    elif isinstance(value, Mapping):
        wrong = [key for key in value if key not in known]
        if wrong:
            raise ValueError(unknown(f"head in this call, for {name}, named", wrong[0], known))
        yield from ((known[key], own) for key, own in value.items() if own is not None)
    else:
        if by_name:
            raise ValueError(
                f"with adapter_names, {name} go by the heads' names ({{{min(known)!r}: …}}), not in a list"
            )
        if len(value) != len(heads):
            raise ValueError(f"{name} is a list of {len(value)}, but there are {len(heads)} heads")
        if any(own is not None for own, head in zip(value, heads, strict=True) if head is None):
            raise ValueError(f"{name} has an entry for rows that have no head; it must be None")
        pairs = zip(heads, value, strict=True)
        yield from ((head, own) for head, own in pairs if head is not None and own is not None)


def _check_one(model: str, network: Iterable[str], head: PredictionHead, name: str, value: Any) -> None:
    if not _is_built_in(head):
        return
    reads = _reads(type(head).forward)
    if name not in reads:
        raise TypeError(unknown(f"argument of {model} or its {head.head_type} head named", name, [*network, *reads]))
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, not a {type(value).__name__}")


@cache
def _reads(forward: Callable[..., Any]) -> frozenset[str]:
    """The arguments of a call that a built-in head reads."""
    contract = {"self", "outputs", "cls_output", "attention_mask", "return_dict", "kwargs"}
    return frozenset(inspect.signature(forward).parameters) - contract


@cache
def _read_by_any() -> frozenset[str]:
    return frozenset().union(*(_reads(kind.forward) for kind in HEADS.values()))
