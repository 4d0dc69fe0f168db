"""What one of PEFT's methods is, seen from its files; each file beside this registers some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.core.registry import Registry
from adapterzoo.core.sites import Site
from adapterzoo.formats.peft.fields import Fields
from adapterzoo.formats.peft.places import Places
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.nn.transformer import Transformer

Tensors = Mapping[str, Tensor]
Values = Callable[[Any, Tensors, Transformer], dict[str, Tensor]]


class Slot(NamedTuple):
    """One tensor of a file.

    Attributes:
        theirs: its name, without what stands before modules' names.
        ours: our tensor's name in the adapter's state.
        shape: its shape in the file.
        whole: whether the name is whole: nothing stands before it.
    """

    theirs: str
    ours: str
    shape: tuple[int, ...]
    whole: bool = False


def itself(config: AdapterConfig) -> AdapterConfig:
    """The config, where a file says the same."""
    return config


def as_they_are(config: AdapterConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """The values that tensors have in both libraries, where these are the same."""
    return dict(tensors)


def nothing(content: Mapping[str, Any], slots: list[Slot], tensors: Tensors) -> dict[str, Tensor]:
    """What is read in place of a file's tensors, where these are read as they are."""
    return {}


class Kind(NamedTuple):
    """One of PEFT's methods.

    Attributes:
        takes: whether a config of ours is one that it may hold.
        read: makes our config of a file's fields, given the places and what stands before names. What is wrong is kept
            in the fields.
        write: makes a file's fields of our config. It raises ValueError with the reason where PEFT cannot have it.
        slots: names the tensors of a file.
        told: the config that a written file is of, where PEFT lacks something that ours has.
        again: the config that a written file can be read as again, with a note in our words; what `told` makes of it
            if None.
        receive: turns a file's tensors, by our names, into those of our adapter's state: those of what `told` makes of
            the config, too. Shapes are brought about by whoever calls it.
        give: the inverse. It raises ValueError with the reason where PEFT cannot have it.
        instead: what is read in place of a file's tensors, by their names: of those that it may leave out, too.
        is_prompt: whether it is what PEFT calls prompt learning: its tensors and heads have other names.
        moves: whether PEFT counts tokens' positions from P on, P being how many positions it adds.
    """

    takes: Callable[[AdapterConfig], bool]
    read: Callable[[Fields, Places, str], AdapterConfig]
    write: Callable[[Any, Places], dict[str, Any]]
    slots: Callable[[Any, Places], list[Slot]]
    told: Callable[[Any], AdapterConfig] = itself
    again: Callable[[Any], AdapterConfig] | None = None
    receive: Values = as_they_are
    give: Values = as_they_are
    instead: Callable[[Mapping[str, Any], list[Slot], Tensors], dict[str, Tensor]] = nothing
    is_prompt: bool = False
    moves: bool = False

    def kept(self, config: AdapterConfig) -> AdapterConfig:
        """What of a config can be had again from a file."""
        return (self.again or self.told)(config)


KINDS: Registry[Kind] = Registry("PEFT method that can be had here,")
"""The methods by their `peft_type`."""


def covered(config: AdapterConfig, places: Places) -> dict[Site, str]:
    """The sites where a config acts, and their modules' names.

    Raises:
        ValueError: it acts where HF has no module of its own.
    """
    network = places.network
    sites = [site for site in places.every if config.covers(site, network)]
    places.check(sites)
    return {site: places.names[site] for site in sites}
