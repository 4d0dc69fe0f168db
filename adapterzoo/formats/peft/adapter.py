"""An adapter's tensors in PEFT's files, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.adapter import Adapter
from adapterzoo.archs.base import Architecture
from adapterzoo.core.blank import give
from adapterzoo.core.config import NetworkConfig
from adapterzoo.core.misfit import misfit
from adapterzoo.formats.peft.config import kind_for, kind_of, places_of, read_config
from adapterzoo.formats.peft.kinds import Kind, Slot
from adapterzoo.formats.peft.notes import noted
from adapterzoo.formats.peft.places import Places
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.nn.transformer import Transformer

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
STEM = "base_model.model."
PROMPT_STEM = "base_model."
"""What stands before modules' names: of prompts, which wrap no module, there is less."""


class Imported(NamedTuple):
    """What a file held.

    Attributes:
        adapter: the adapter.
        rest: the other tensors, of which a head may be made, by HF's names.
        shift: how many positions PEFT counts tokens on; 0 where it computes the same without.
    """

    adapter: Adapter
    rest: dict[str, Tensor]
    shift: int


def import_adapter(
    content: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    architecture: Architecture,
    network: Transformer,
    note: Mapping[str, Any],
) -> Imported:
    """An adapter with the config and the tensors of a file.

    Args:
        content: what `adapter_config.json` holds.
        tensors: the tensors.
        architecture: of the model.
        network: the model's network.
        note: our words for the same, where the file has such: see `read_note`.

    Raises:
        ValueError: it cannot be had, or tensors are missing or of another shape; all are named.
    """
    kind, places = kind_of(content), places_of(architecture, network.config)
    config = _config(content, tensors, architecture, network.config)
    slots = kind.slots(config, places)
    if (said := noted(note, config, architecture, network.config)) is not None:
        config, slots = said, kind.slots(kind.told(said), places)
    named = {bare_name(key, architecture): key for key in tensors}
    found = {bare: tensors[key] for bare, key in named.items() if bare in {slot.theirs for slot in slots}}
    found |= kind.instead(content, slots, found)
    rest = {key: tensor for key, tensor in tensors.items() if bare_name(key, architecture) not in found}
    problems = [*_wrong(slots, found), *_changed(rest, places, network)]
    if problems:
        raise ValueError("the PEFT adapter does not fit:\n  " + "\n  ".join(sorted(problems)))
    adapter = Adapter(config, network, initialise=False)
    state = adapter.state_dict()
    values = kind.receive(config, {slot.ours: found[slot.theirs] for slot in slots}, network)
    shaped = {key: value.reshape(state[key].shape) for key, value in values.items()}
    if len(shaped) < len(state):  # PiSSA's files leave out what it began with, which follows from the weights
        adapter = Adapter(config, network)
    give(adapter, shaped, network.token.weight.device)
    heads = {key.removeprefix(PROMPT_STEM if kind.is_prompt else STEM): tensor for key, tensor in rest.items()}
    return Imported(adapter, heads, _shift(config, kind))


def _config(
    content: Mapping[str, Any], keys: Iterable[str], architecture: Architecture, network: NetworkConfig
) -> AdapterConfig:
    """What a file says; whether it is of a class with a head is told by its tensors' names, as far as they tell it."""
    stem = STEM + architecture.stem
    prefixed = None if kind_of(content).is_prompt else any(key.startswith(stem) for key in keys)
    return read_config(content, architecture, network, prefixed)


def shapes(
    content: Mapping[str, Any], keys: Iterable[str], architecture: Architecture, network: NetworkConfig
) -> dict[str, tuple[int, ...]]:
    """The shapes that a file's tensors must have, by their bare names.

    Args:
        content: what `adapter_config.json` holds.
        keys: the tensors' names.
        architecture: of the model.
        network: the model's numbers.

    Raises:
        ValueError: it cannot be had; every reason is told.
    """
    config = _config(content, keys, architecture, network)
    slots = kind_of(content).slots(config, places_of(architecture, network))
    return {slot.theirs: slot.shape for slot in slots}


def bare_name(key: str, architecture: Architecture) -> str:
    """A tensor's name without what stands before modules' names."""
    return key[len(STEM) :].removeprefix(architecture.stem) if key.startswith(STEM) else key


def _wrong(slots: list[Slot], found: Mapping[str, Tensor]) -> Iterator[str]:
    for slot in slots:
        if slot.theirs not in found:
            yield f"{slot.theirs} is not there"
        elif wrong := misfit(found[slot.theirs], slot.shape):
            yield f"{slot.theirs} {wrong}"


def _changed(rest: dict[str, Tensor], places: Places, network: Transformer) -> Iterator[str]:
    """Take the model's own token embedding out of what is left, and say where it is another one."""
    for site, name in places.at(("lookup",)).items():
        own = network.token_of(site.stack).weight
        for key in [key for key in rest if _is_weight(key, name, places.architecture)]:
            given = rest.pop(key)
            if given.shape != own.shape or not bool((given.to(own) == own).all()):
                yield f"{key} is a weight of the model itself, and another one than this model's"


def _is_weight(key: str, name: str, architecture: Architecture) -> bool:
    return bare_name(key, architecture) in (f"{name}.weight", f"{name}.base_layer.weight")


def _shift(config: Any, kind: Kind) -> int:
    if not kind.moves:
        return 0
    return int(config["prefix_length"] if "prefix_length" in config else config["prompt_length"])


def export_adapter(
    adapter: Adapter, architecture: Architecture, network: Transformer, prefixed: bool
) -> dict[str, Tensor]:
    """An adapter's tensors under PEFT's names.

    Args:
        adapter: the adapter.
        architecture: of its model.
        network: its model's network.
        prefixed: whether it is for a class with a head, whose modules' names begin with the architecture's prefix.

    Raises:
        ValueError: PEFT has nothing that computes the same.
    """
    kind, places = kind_for(adapter.config)[1], places_of(architecture, network.config)
    values = kind.give(adapter.config, adapter.state_dict(), network)
    stem = STEM + architecture.stem if prefixed else STEM
    return {
        slot.theirs if slot.whole else stem + slot.theirs: values[slot.ours].reshape(slot.shape).clone()
        for slot in kind.slots(kind.told(adapter.config), places)
    }
