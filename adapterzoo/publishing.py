"""What a model does to publish adapters: write their files, say on a card what they are, push both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from adapterzoo import adapting, fusing
from adapterzoo.core.compose import Setup, fusions_in, names_in
from adapterzoo.hub.card import About, Part, card, check_entries, code
from adapterzoo.hub.push import Target, push


def push_adapter(
    model: Any, target: Target, name: str, datasets_tag: str | None, entries: Mapping[str, Any] | None
) -> str:
    """See `PublishedModel.push_adapter_to_hub`."""
    said = check_entries(entries)
    about = _about(model, f"Adapter {code(name)}", [*_adapters(model, [name]), *_heads(model, [name])], "load_adapter")

    def write(folder: Path) -> None:
        adapting.save_adapter(model, folder, name, with_head=True)

    return push(
        target, write, lambda repository: card(repository, about, datasets_tag, said), f"Upload adapter {name!r}"
    )


def push_setup(
    model: Any, target: Target, setup: Setup, heads: Any, datasets_tag: str | None, entries: Mapping[str, Any] | None
) -> str:
    """See `PublishedModel.push_adapter_setup_to_hub`."""
    said, block = check_entries(entries), model.adapters.checked(setup)
    if block is None:
        raise ValueError("name the adapters to push")
    names = list(dict.fromkeys(names_in(block)))
    fusions = [_part("fusion", name, "fusion", model.fusions[name]) for name in dict.fromkeys(fusions_in(block))]
    parts = [*_adapters(model, names), *fusions, *_heads(model, [*names, *fusing.heads_in(heads)])]
    about = _about(model, f"Adapter setup {code(str(block))}", parts, "load_adapter_setup")

    def write(folder: Path) -> None:
        fusing.save_setup(model, folder, block, heads, None)

    return push(
        target, write, lambda repository: card(repository, about, datasets_tag, said), f"Upload adapter setup {block}"
    )


def _about(model: Any, title: str, parts: list[Part], load: str) -> About:
    numbers = model.base.config
    layers = " and ".join(f"{stack.layers} {name} layers" for name, stack in numbers.stacks().items())
    size = f"width {numbers.width} and {layers}"
    return About(title, model.architecture.model_type, adapting.model_name(model), size, parts, load)


def _adapters(model: Any, names: Iterable[str]) -> Iterator[Part]:
    for name in names:
        adapter = model.adapters[name]
        yield _part("adapter", name, adapter.config.architecture or "bottleneck", adapter)


def _heads(model: Any, names: Iterable[str]) -> Iterator[Part]:
    """The heads that lie beside adapters of these names; a fixed one lies beside any."""
    there = model.heads_of()
    for name in dict.fromkeys(["default"] if model.static is not None else names):
        if name in there:
            yield _part("head", name, there[name].head_type, there[name], there[name].get_labels() or ())


def _part(what: str, name: str, kind: str, module: nn.Module, labels: Any = ()) -> Part:
    own = [tensor for key, tensor in module.named_parameters() if key not in getattr(module, "tied", ())]
    return Part(what, name, kind, sum(tensor.numel() for tensor in own), tuple(labels))
