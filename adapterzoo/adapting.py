"""What a model does with its adapters: prepare training, save, load, sum up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from adapterzoo import peft_files
from adapterzoo.adapter import Adapter
from adapterzoo.core.blank import give
from adapterzoo.core.compose import Setup, fusions_in, names_in
from adapterzoo.core.registry import unknown
from adapterzoo.core.sites import existing_layers, sites_of
from adapterzoo.formats import adapterhub
from adapterzoo.host import Host
from adapterzoo.store import Source, find, read_json, read_tensors, require, write_json, write_tensors
from adapterzoo.writing import together

FORMATS = ("adapterhub", "peft")
"""The formats in which adapters are written."""


def prepare_training(model: Host, setup: Setup, train_embeddings: bool = False) -> None:
    """See `Model.train_adapter`."""
    block = model.adapters.checked(setup)
    if block is None:
        raise ValueError("name the adapters to train")
    trained = set(names_in(block))
    for name in trained:
        model.adapters.check_not_merged(name)
    model.set_active_adapters(block)
    model.base.requires_grad_(False)
    model.embeddings.requires_grad_(False)
    model.base.token.requires_grad_(train_embeddings)
    model.adapters.requires_grad_(False)
    for name in trained:  # after the others, which may have parameters in common with them
        model.adapters[name].requires_grad_(True)
    model.adapters.fusions.requires_grad_(False)
    for head in model.heads_of().values():
        _thaw(head)
    model.train()


def _thaw(head: nn.Module) -> None:
    """Make a head's own parameters trainable; those that belong to the network's embeddings stay frozen."""
    tied: set[str] = getattr(head, "tied", set())
    for name, parameter in head.named_parameters():
        if name not in tied:
            parameter.requires_grad_(True)


def check_file_options(custom_weights_loaders: Any, use_safetensors: bool = True) -> None:
    """Check arguments that AdapterHub's library has for what is done in one way here.

    Args:
        custom_weights_loaders: None; files are read and written by tables.
        use_safetensors: files are written as safetensors alone, which that library reads.

    Raises:
        ValueError: it is something else.
    """
    if custom_weights_loaders:
        raise ValueError("there are no custom weights loaders: files are read and written by tables")
    if not use_safetensors:
        raise ValueError("files are written as safetensors alone; adapters opens them with use_safetensors=True")


def save_adapter(
    model: Host,
    directory: Source,
    name: str,
    with_head: bool,
    meta: Mapping[str, Any] | None = None,
    to: str = "adapterhub",
) -> None:
    """See `Model.save_adapter`."""
    if to not in FORMATS:
        raise ValueError(unknown("format of adapters", to, FORMATS))
    if to == "peft":
        if meta:
            raise ValueError("meta_dict is for AdapterHub's files; PEFT's have no such entries")
        peft_files.write(model, directory, name, with_head, model_name(model))
        return
    folder, adapter = Path(directory), model.adapters[name]
    numbers, architecture = model.base.config, model.architecture
    prefixed = type(model).__name__ != architecture.class_name()
    tensors = adapterhub.export_adapter(adapter, name, architecture, numbers, prefixed)
    content = adapterhub.adapter_json(
        name, adapter, type(model).__name__, model_name(model), architecture, numbers.width
    )
    content = adapterhub.with_meta(content, meta)
    with together():
        write_tensors(folder / adapterhub.WEIGHTS[0], tensors)
        write_json(folder / adapterhub.CONFIG, content)
        if with_head:
            model.write_head(folder, name)


def model_name(model: Host) -> str:
    """What the model was loaded from, as its config tells."""
    return str(model.config.extra.get("_name_or_path", ""))


class Loaded(NamedTuple):
    """An adapter's files, read and checked.

    Attributes:
        name: the name that it shall have.
        adapter: the adapter.
        place_head: puts the head beside it in place; None where there is none.
        shift: how many positions the library that wrote it counts tokens on.
    """

    name: str
    adapter: Adapter
    place_head: Callable[[], None] | None
    shift: int = 0

    def place(self, model: Host) -> None:
        """Give it, and its head, to a model."""
        model.adapters.put(self.name, self.adapter.requires_grad_(True))
        if self.place_head is not None:
            self.place_head()
        peft_files.tell_shift(self.name, self.shift)


def read_adapter(
    model: Host,
    source: Source,
    *,
    load_as: str | None = None,
    with_head: bool = True,
    version: str | None = None,
    leave_out: tuple[int, ...] = (),
    id2label: Mapping[int, str] | None = None,
    allow_pickle: bool = True,
    overwrite_ok: bool = True,
) -> Loaded:
    """Read an adapter and the head beside it, and check that they fit. The model is not touched."""
    numbers = model.base.config
    left_out = existing_layers("leave_out", leave_out, numbers)
    source = peft_files.folder_of(source)
    content = read_json(require(source, adapterhub.CONFIG, version))
    if peft_files.is_peft(content):
        name = peft_files.name_of(source) if load_as is None else load_as
        model.adapters.check_new(name, overwrite_ok)
        made, head = peft_files.read(model, source, content, version, allow_pickle)
        adapter = _without_layers(made.adapter, model, left_out) if left_out else made.adapter
        placed = model.head_placer(head, name, id2label) if with_head and head is not None else None
        return Loaded(name, adapter, placed, made.shift)
    file = adapterhub.read_adapter_json(content, model.architecture, numbers.width)
    name = file.name if load_as is None else load_as
    model.adapters.check_new(name, overwrite_ok)
    adapter = _made(model, file, content, read_tensors(adapter_weights(source, version), allow_pickle))
    if left_out:
        adapter = _without_layers(adapter, model, left_out)
    place_head = model.head_reader(source, name, allow_pickle, version, id2label) if with_head else None
    return Loaded(name, adapter, place_head)


def made_of(model: Host, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Adapter:
    """The adapter that AdapterHub's files describe.

    Args:
        model: what it is for.
        content: what its `adapter_config.json` holds.
        tensors: its tensors by the file's names.

    Raises:
        ValueError: they do not fit the model or each other; every problem is named.
    """
    file = adapterhub.read_adapter_json(content, model.architecture, model.base.config.width)
    return _made(model, file, content, tensors)


def _made(
    model: Host, file: adapterhub.AdapterFile, content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Adapter:
    numbers, architecture = model.base.config, model.architecture
    file = adapterhub.without_unused(file, content, tensors)
    adapter = Adapter(file.config.fitted(tensors), model.base, initialise=False)
    found = adapterhub.matched(adapter, tensors, file.name, architecture, numbers)
    give(adapter, found, model.base.token.weight.device)
    return adapter


def load_adapter(model: Host, source: Source, set_active: bool, **options: Any) -> str:
    """See `Model.load_adapter`; `options` are those of `read_adapter`."""
    loaded = read_adapter(model, source, **options)
    loaded.place(model)
    if set_active:
        model.set_active_adapters(loaded.name)
    return loaded.name


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
    """The same adapter with some layers left out; what several layers share keeps what is left."""
    smaller = Adapter(adapter.config.without(leave_out), model.base, initialise=False)
    there = {site.layer for site in sites_of(model.base.config) if smaller.module_at(site) is not None}
    if there & leave_out:
        raise ValueError(f"{adapter.config!r} has no leave_out: it acts in all layers or in none")
    state = adapter.state_dict()
    for group, module in smaller.shared.items():
        if hasattr(module, "part_of"):
            part: dict[str, Tensor] = module.part_of(adapter.shared[group])  # type: ignore[operator]
            state |= {f"shared.{group}.{name}": tensor for name, tensor in part.items()}
    give(smaller, {key: state[key] for key in smaller.state_dict()}, model.base.token.weight.device)
    return smaller


def summary(model: Host, as_dict: bool) -> Any:
    """See `Model.adapter_summary`."""
    pool, total = model.adapters, sum(parameter.numel() for parameter in model.base.parameters())
    active = set(names_in(pool.active)) if pool.active is not None else set()
    fusing = set(fusions_in(pool.active)) if pool.active is not None else set()
    rows = [
        {
            **_row(name, adapter.config.architecture or "bottleneck", adapter, total, active),
            "merged": name in pool.merged,
        }
        for name, adapter in pool.items()
    ]
    rows += [_row(name, "fusion", fusion, total, fusing) for name, fusion in pool.fusions.items()]
    trained = any(parameter.requires_grad for parameter in model.base.parameters())
    rows.append({"name": "Full model", "#param": total, "%param": 100.0, "train": trained})
    return rows if as_dict else _table(rows)


def _row(name: str, architecture: str, module: nn.Module, total: int, active: set[str]) -> dict[str, Any]:
    count = sum(parameter.numel() for parameter in module.parameters())
    return {
        "name": name,
        "architecture": architecture,
        "#param": count,
        "%param": 100 * count / total,
        "active": name in active,
        "train": all(parameter.requires_grad for parameter in module.parameters()),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    heads = ["name", "architecture", "#param", "%param", "active", "train"]
    heads += ["merged"] if any(row.get("merged") for row in rows) else []
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
