"""How large the network is that an adapter is for, as far as its tensors' shapes tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

from adapterzoo.adapter import Adapter
from adapterzoo.archs import Architecture
from adapterzoo.core.blank import blank
from adapterzoo.core.config import NetworkConfig
from adapterzoo.formats import Content, adapterhub, peft
from adapterzoo.nn.transformer import Transformer

MOST_LAYERS = 199
"""No network has more; of each there would be modules, and a file may say anything."""

MOST_LEFT_OUT = 24
"""How many of a first stack's last layers may have no tensors."""

TRIED = 3
"""How many of the values that shapes tell of one number are tried."""

Shapes = Mapping[str, tuple[int, ...]]


class Number(NamedTuple):
    """A number of a network: its value, and a function that makes the same network with another."""

    value: int
    put: Callable[[int], NetworkConfig]
    most: int | None = None


def fitted(network: NetworkConfig, architecture: Architecture, content: Content, width_told: bool) -> NetworkConfig:
    """The network with the sizes that an adapter's tensors tell; those that they do not tell stay.

    Shapes grow evenly with each number. So two networks, of which one has twice the other's value of a number, tell
    which value of it a file's shape comes from.

    Args:
        network: the network, with as many layers as the tensors' names tell.
        architecture: of the model.
        content: the adapter's files.
        width_told: whether the network's width is known.
    """
    try:
        given, told = (_of_adapterhub if content.format == "adapterhub" else _of_peft)(content, architecture, network)
    except ValueError:  # whoever reads the adapter tells what is wrong
        return network
    shapes = cache(told)
    network = _counted(network, given, shapes)
    for number in range(len(_numbers(network, width_told))):
        with suppress(ValueError):  # the adapter is none for such a network
            here = shapes(network)
            if _fitting(given, here) == len(given):
                break
            one = _numbers(network, width_told)[number]
            there, answers = shapes(one.put(2 * one.value)), Counter[int]()
            for name in sorted(given.keys() & here.keys() & there.keys()):
                answers.update(_answers(one.value, here[name], there[name], given[name]))
            likely = [value for value, _ in answers.most_common(TRIED) if one.most is None or value <= one.most]
            made = [one.put(value) for value in likely]
            network = max(made, key=lambda numbers: _fitting(given, shapes(numbers)), default=network)
    return _with_room(network, shapes)


def _counted(network: NetworkConfig, given: Shapes, shapes: Callable[[NetworkConfig], Shapes]) -> NetworkConfig:
    """The network with so many layers in its first of two stacks that the adapter acts where the file has tensors.

    The second stack's layers are counted on from those of the first, of which the last may have been left out.
    """
    if len(network.stacks()) == 1:
        return network
    first = next(iter(network.stacks()))
    for more in (0, MOST_LEFT_OUT, *range(1, MOST_LEFT_OUT)):  # the largest tells whether to try those between
        with suppress(ValueError):
            larger = put(network, (first,), "layers", network.first.layers + more)
            if shapes(larger).keys() == given.keys():
                return larger
            if more == MOST_LEFT_OUT and not _without_numbers(given) <= _without_numbers(shapes(larger)):
                return network  # there is more amiss than how many layers there are
    return network


def _without_numbers(names: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "", name) for name in names}


def _with_room(network: NetworkConfig, shapes: Callable[[NetworkConfig], Shapes]) -> NetworkConfig:
    """The network with one more layer in each stack where the adapter does not act in all that come.

    So nobody takes the layers that have tensors for all that there are.
    """
    for stack, numbers in network.stacks().items():
        with suppress(ValueError):
            larger = put(network, (stack,), "layers", numbers.layers + 1)
            if shapes(larger) == shapes(network):
                network = larger
    return network


def _fitting(given: Shapes, shapes: Shapes) -> int:
    """How many tensors have the shapes that they should have."""
    return sum(shapes.get(name) == shape for name, shape in given.items())


def _answers(value: int, here: tuple[int, ...], there: tuple[int, ...], given: tuple[int, ...]) -> Iterator[int]:
    """What a number must be for a shape to be the given one; it is `here` with that value, `there` with twice of it."""
    if not len(here) == len(there) == len(given):
        return
    for first, second, size in zip(here, there, given, strict=True):
        if first != second:
            more, rest = divmod((size - first) * value, second - first)
            if rest == 0 and value + more > 0:
                yield value + more


def _numbers(network: NetworkConfig, width_told: bool) -> list[Number]:
    """The numbers on which adapters' shapes depend."""

    def number(stacks: tuple[str, ...], field: str) -> Number:
        most = MOST_LAYERS if field == "layers" else None
        return Number(getattr(network.stacks()[stacks[0]], field), partial(put, network, stacks, field), most)

    every = tuple(network.stacks())
    found = [] if width_told else [number(every, "width")]
    for stack in every:
        fields = ("layers", "inner", "vocab", "embed_width")
        found += [number((stack,), field) for field in fields if getattr(network.stacks()[stack], field)]
    return found


def put(network: NetworkConfig, stacks: tuple[str, ...], field: str, value: Any) -> NetworkConfig:
    """The network with another value of a number in some stacks."""
    changed: Any = {name: replace(network.stacks()[name], **{field: value}) for name in stacks}
    return replace(network, **changed)


def _of_adapterhub(
    content: Content, architecture: Architecture, network: NetworkConfig
) -> tuple[Shapes, Callable[[NetworkConfig], Shapes]]:
    """The shapes of a file's tensors, and those that they would have in a file for some network."""
    file = adapterhub.read_adapter_json(content.config, architecture, network.width)
    file = adapterhub.without_unused(file, content.config, content.tensors)
    config = file.config.fitted(content.tensors)
    tensors = config.from_hub(content.tensors)
    given = {adapterhub.bare_name(key, architecture): tuple(tensor.shape) for key, tensor in tensors.items()}

    def shapes(numbers: NetworkConfig) -> Shapes:
        with blank():
            adapter = Adapter(config, Transformer(numbers), initialise=False)
        names, _ = adapterhub.tensor_names(adapter, file.name, architecture, numbers)
        state: Mapping[str, Any] = adapter.state_dict()
        return {theirs: tuple(state[ours].shape) for theirs, ours in names.items()}

    return given, shapes


def _of_peft(
    content: Content, architecture: Architecture, network: NetworkConfig
) -> tuple[Shapes, Callable[[NetworkConfig], Shapes]]:
    """The same of PEFT's files; their heads' tensors are not looked at."""
    known = peft.shapes(content.config, content.tensors, architecture, network)
    named = {peft.bare_name(key, architecture): key for key in content.tensors}
    given = {bare: tuple(content.tensors[key].shape) for bare, key in named.items() if bare in known}
    return given, lambda numbers: peft.shapes(content.config, content.tensors, architecture, numbers)
