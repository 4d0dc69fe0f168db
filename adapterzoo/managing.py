"""What is done to adapters as a whole: looked at, moved, renamed, copied, swapped."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo import peft_files
from adapterzoo.adapter import Adapter
from adapterzoo.adapting import adapter_weights
from adapterzoo.combining.alike import check_alike
from adapterzoo.core.registry import UnknownName
from adapterzoo.core.sites import Site, sites_of
from adapterzoo.formats import adapterhub
from adapterzoo.host import Host
from adapterzoo.methods.base import METHODS, PRESETS, AdapterConfig, resolve_config
from adapterzoo.methods.prefix_tuning import Prefixes
from adapterzoo.store import Source, read_json, read_tensors, require

LOCATIONS = {
    "attn.join": "mh_adapter",
    "cross.join": "cross_adapter",
    "mlp.join": "output_adapter",
    "mlp.up": "intermediate_lora",
    "mlp.down": "output_lora",
    "layer.out": "output_reft",
    "embed": "invertible",
    "input": "prompt",
    "cross.kv": "cross_prefix",
    **{f"{block}.{part}": "selfattn_lora" for block in ("attn", "cross") for part in "qkv"},
}
"""AdapterHub's names of places. Others have their sites' names."""


def modules_by_layer(model: Host, name: str) -> dict[int, dict[str, nn.Module]]:
    """See `ManagedModel.get_adapter`."""
    adapter = model.adapters[name]
    found: dict[int, dict[str, nn.Module]] = {}
    if len(adapter.shared):
        found[-1] = {"shared": adapter.shared}
    for site in sites_of(model.base.config):
        unit = adapter.module_at(site)
        if unit is None:
            continue
        layer, place = found.setdefault(site.layer, {}), location(model, adapter, site)
        there = layer.get(place)
        if there is None:
            layer[place] = unit
        else:
            several = list(there) if isinstance(there, nn.ModuleList) else [there]
            layer[place] = nn.ModuleList([*several, unit])
    return found


def location(model: Host, adapter: Adapter, site: Site) -> str:
    """AdapterHub's name of the place of an adapter's unit."""
    if site.kind == "linear" and adapter.config.at(site, model.base.config).hub_unit(site) != "loras":
        return site.name
    if site.name == "attn.kv":
        both = model.base.config.decoder is not None and site.stack == "encoder"
        return "encoder_prefix" if both else "self_prefix"
    return LOCATIONS.get(site.name, site.name)


def copied(model: Host, name: str, new_name: str, overwrite_ok: bool) -> None:
    """See `ManagedModel.copy_adapter`."""
    adapter = model.adapters[name]
    model.adapters.check_new(new_name, overwrite_ok)
    model.adapters.put(new_name, copy.deepcopy(adapter))


def hotswap(
    model: Host, source: Source | Mapping[str, Tensor], name: str, version: str | None, allow_pickle: bool
) -> None:
    """See `ManagedModel.hotswap_adapter`."""
    adapter = model.adapters[name]
    model.adapters.check_not_merged(name)
    numbers, architecture = model.base.config, model.architecture
    if isinstance(source, Mapping):
        if set(source) == set(adapter.state_dict()):
            _check_shapes(name, adapter, source)
            adapter.load_state_dict(dict(source))
        else:
            adapterhub.import_adapter(adapter, source, name, architecture, numbers)
        return
    source = peft_files.folder_of(source)
    content = read_json(require(source, adapterhub.CONFIG, version))
    if peft_files.is_peft(content):
        made = peft_files.read(model, source, content, version, allow_pickle)[0].adapter
        if not peft_files.alike(model, adapter.config, made.config):
            check_alike({name: adapter.config, f"that of {source}": made.config})
        adapter.load_state_dict(made.state_dict())
        return
    file = adapterhub.read_adapter_json(content, architecture, numbers.width)
    tensors = read_tensors(adapter_weights(source, version), allow_pickle)
    check_alike({name: adapter.config, f"{file.name} of {source}": file.config.fitted(tensors)})
    adapterhub.import_adapter(adapter, tensors, file.name, architecture, numbers)


def _check_shapes(name: str, adapter: Adapter, tensors: Mapping[str, Tensor]) -> None:
    apart = [
        f"{key} has shape {tuple(tensors[key].shape)}, not {tuple(own.shape)}"
        for key, own in adapter.state_dict().items()
        if tensors[key].shape != own.shape
    ]
    if apart:
        raise ValueError(f"the tensors do not fit the adapter {name!r}:\n  " + "\n  ".join(apart))


def eject_prefixes(model: Host, name: str) -> None:
    """See `ManagedModel.eject_prefix_tuning`."""
    adapter = model.adapters[name]
    model.adapters.check_not_merged(name)
    groups = {group: module for group, module in adapter.shared.items() if isinstance(module, Prefixes)}
    if not groups:
        raise ValueError(f"adapter {name!r} has no prefixes")
    if all(module.config.flat for module in groups.values()):
        return
    made = Adapter(adapter.config.replace(flat=True), model.base)
    state = {key: value for key, value in adapter.state_dict().items() if key in made.state_dict()}
    with torch.no_grad():
        state |= {f"shared.{group}.control_trans": _flat(module) for group, module in groups.items()}
    made.load_state_dict(state)
    like = next(adapter.parameters())
    made.to(device=like.device, dtype=like.dtype).requires_grad_(like.requires_grad)
    model.adapters.put(name, made).train(adapter.training)


def _flat(prefixes: Prefixes) -> Tensor:
    """The prefixes themselves, as flat ones are kept: (P·2n·D)."""
    training = prefixes.training
    layers = prefixes.eval().once()  # (2n, H, P, E)
    prefixes.train(training)
    return layers.permute(2, 0, 1, 3).flatten()


def supports(model: Host, wanted: Any) -> bool:
    """See `ManagedModel.supports_adapter`."""
    numbers = model.base.config
    return any(config.covers(site, numbers) for config in _configs(wanted) for site in sites_of(numbers))


def _configs(wanted: Any) -> Iterator[AdapterConfig]:
    """The configs that a method's name, a config or a string may mean."""
    kind = METHODS.get(wanted) if isinstance(wanted, str) else None
    if kind is not None:
        yield from (config for config in PRESETS.values() if isinstance(config, kind))
    elif wanted == "invertible":
        yield from (config for config in PRESETS.values() if config.get("inv_adapter"))
    else:
        try:
            yield resolve_config(wanted)
        except UnknownName:
            return


def freeze_embeddings(model: Host, freeze: bool) -> None:
    """See `ManagedModel.freeze_embeddings`."""
    network = model.base
    modules: list[nn.Module] = [network.token_of(stack) for stack in network.config.stacks()]
    heads = (getattr(head, "decoder", None) for head in model.heads_of().values())
    for module in [*modules, model.embeddings, *(head for head in heads if head is not None)]:
        module.requires_grad_(not freeze)
