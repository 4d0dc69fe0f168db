"""What a model does with its adapters: prepare training, save, load, sum up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from adapterzoo.adapter import Adapter
from adapterzoo.core.compose import Setup, names_in
from adapterzoo.core.sites import existing_layers
from adapterzoo.formats import adapterhub
from adapterzoo.host import Host
from adapterzoo.store import Source, find, read_json, read_tensors, require, write_json, write_tensors
from adapterzoo.writing import together


def prepare_training(model: Host, setup: Setup, train_embeddings: bool = False) -> None:
    """See `Model.train_adapter`."""
    block = model.adapters.checked(setup)
    if block is None:
        raise ValueError("name the adapters to train")
    model.set_active_adapters(block)
    model.base.requires_grad_(False)
    model.embeddings.requires_grad_(False)
    model.base.token.requires_grad_(train_embeddings)
    trained = set(names_in(block))
    for name, adapter in model.adapters.items():
        adapter.requires_grad_(name in trained)
    for head in model.heads_of().values():
        _thaw(head)
    model.train()


def _thaw(head: nn.Module) -> None:
    """Make a head's own parameters trainable; those that belong to the network's embeddings stay frozen."""
    tied: set[str] = getattr(head, "tied", set())
    for name, parameter in head.named_parameters():
        if name not in tied:
            parameter.requires_grad_(True)


def save_adapter(model: Host, directory: Source, name: str, with_head: bool) -> None:
    """See `Model.save_adapter`."""
    folder, adapter = Path(directory), model.adapters[name]
    numbers, architecture = model.base.config, model.architecture
    prefixed = type(model).__name__ != architecture.class_name()
    tensors = adapterhub.export_adapter(adapter, name, architecture, numbers, prefixed)
    content = adapterhub.adapter_json(
        name, adapter, type(model).__name__, model_name(model), architecture, numbers.width
    )
    with together():
        write_tensors(folder / adapterhub.WEIGHTS[0], tensors)
        write_json(folder / adapterhub.CONFIG, content)
        if with_head:
            model.write_head(folder, name)


def model_name(model: Host) -> str:
    """What the model was loaded from, as its config tells."""
    return str(model.config.extra.get("_name_or_path", ""))


def load_adapter(
    model: Host,
    source: Source,
    *,
    load_as: str | None,
    with_head: bool,
    version: str | None,
    leave_out: tuple[int, ...],
    set_active: bool,
    allow_pickle: bool,
    overwrite_ok: bool,
) -> str:
    """See `Model.load_adapter`. Everything is read and checked before the model is touched."""
    numbers, architecture = model.base.config, model.architecture
    content = read_json(require(source, adapterhub.CONFIG, version))
    file = adapterhub.read_adapter_json(content, architecture, numbers.width)
    name = file.name if load_as is None else load_as
    model.adapters.check_new(name, overwrite_ok)
    left_out = existing_layers("leave_out", leave_out, numbers)
    tensors = read_tensors(adapter_weights(source, version), allow_pickle)
    adapter = Adapter(file.config, model.base)
    adapterhub.import_adapter(adapter, tensors, file.name, architecture, numbers)
    if left_out:
        adapter = _without_layers(adapter, model, left_out)
    place_head = model.head_reader(source, name, allow_pickle, version) if with_head else None
    model.adapters.put(name, adapter.requires_grad_(True))
    if place_head is not None:
        place_head()
    if set_active:
        model.set_active_adapters(name)
    return name


def adapter_weights(source: Source, version: str | None = None) -> Path:
    """The file of an adapter's tensors.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in adapterhub.WEIGHTS:
        path = find(source, name, version)
        if path is not None:
            return path
    raise FileNotFoundError(f"{source!s} has no adapter's tensors: neither {' nor '.join(adapterhub.WEIGHTS)}")


def _without_layers(adapter: Adapter, model: Host, leave_out: frozenset[int]) -> Adapter:
    """The same adapter with some layers left out; units that several layers share keep what is left."""
    config = adapter.config
    left = tuple(sorted({*getattr(config, "leave_out", ()), *leave_out}))
    if adapter.shared:
        raise ValueError("leave_out at load is not possible for an adapter whose layers share one network")
    smaller = Adapter(config.replace(leave_out=left), model.base)
    smaller.load_state_dict({key: value for key, value in adapter.state_dict().items() if key in smaller.state_dict()})
    return smaller


def summary(model: Host, as_dict: bool) -> Any:
    """See `Model.adapter_summary`."""
    total = sum(parameter.numel() for parameter in model.base.parameters())
    active = set(names_in(model.adapters.active)) if model.adapters.active is not None else set()
    rows = []
    for name, adapter in model.adapters.items():
        count = sum(parameter.numel() for parameter in adapter.parameters())
        rows.append(
            {
                "name": name,
                "architecture": adapter.config.architecture or "bottleneck",
                "#param": count,
                "%param": 100 * count / total,
                "active": name in active,
                "train": all(parameter.requires_grad for parameter in adapter.parameters()),
            }
        )
    trained = any(parameter.requires_grad for parameter in model.base.parameters())
    rows.append({"name": "Full model", "#param": total, "%param": 100.0, "train": trained})
    return rows if as_dict else _table(rows)


def _table(rows: list[dict[str, Any]]) -> str:
    heads = ["name", "architecture", "#param", "%param", "active", "train"]
    texts = [heads, *([_cell(row.get(head)) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in texts]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
