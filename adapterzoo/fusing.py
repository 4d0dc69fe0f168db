"""What a model does with its fusions: make, train, save and load them; and setups that lie in files as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from adapterzoo import adapting, head_files
from adapterzoo.adapter import Adapter
from adapterzoo.core.compose import AdapterCompositionBlock, Fuse, Setup, fusions_in, names_in, parse_composition
from adapterzoo.core.registry import NamedModules, unknown
from adapterzoo.formats import adapterhub, adapterhub_fusion
from adapterzoo.fusion import Fusion, resolve_fusion_config
from adapterzoo.fusion.fusion import sites_for
from adapterzoo.head_setup import HeadChoice
from adapterzoo.host import Host
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.methods.config_id import get_adapter_config_hash
from adapterzoo.plan import Plan
from adapterzoo.store import Source, find, read_json, read_tensors, require, write_json, write_tensors
from adapterzoo.writing import together

Named = Fuse | Sequence[str] | str
"""What may name a fusion: a block, its adapters, or its name."""

T = TypeVar("T")


def name_of(given: Named) -> str:
    """The name of a fusion.

    Raises:
        TypeError: it is named by something else.
    """
    if isinstance(given, (Fuse, str)):
        return given.name if isinstance(given, Fuse) else given
    if isinstance(given, Sequence) and all(isinstance(name, str) for name in given):
        return ",".join(given)
    raise TypeError(f"a fusion is named by a Fuse block, a list of adapters' names or its own name, not {given!r}")


def add(model: Host, adapters: Named, config: Any, name: str | None, overwrite_ok: bool, set_active: bool) -> None:
    """See `FusedModel.add_adapter_fusion`."""
    listed = adapters.split(",") if isinstance(adapters, str) else adapters
    name = name_of(adapters) if name is None else name
    model.fusions.check_new(name, overwrite_ok)
    block = Fuse(*listed, name=name)
    names = tuple(dict.fromkeys(names_in(block)))
    there = dict(model.adapters.items())
    fusion = Fusion(resolve_fusion_config(config), names, sites_for(names, there, model.base.config), model.base)
    Plan(block, there, model.base, fusions={**dict(model.fusions.items()), name: fusion})  # for its errors
    model.adapters.put_fusion(name, fusion)
    if set_active:
        model.set_active_adapters(block)


def prepare_training(model: Host, setup: Setup, unfreeze_adapters: bool) -> None:
    """See `FusedModel.train_adapter_fusion`."""
    block = parse_composition(setup)
    trained = [] if block is None else fusions_in(block)
    if not trained:
        raise ValueError(f"there is no Fuse block in {setup!r}; train_adapter trains adapters without one")
    adapting.prepare_training(model, block)
    if not unfreeze_adapters:
        model.adapters.requires_grad_(False)
    for name in trained:
        model.fusions[name].requires_grad_(True)


def regularization_loss(model: Host) -> Tensor | None:
    """See `FusedModel.get_fusion_regularization_loss`."""
    apart = [distance for _, fusion in model.fusions.items() if (distance := fusion.distance()) is not None]
    return 0.01 * sum(apart[1:], apart[0]) if apart else None


# ---------------------------------------------------------------------------------------------- one fusion's files


def save(model: Host, directory: Source, name: str, meta: Mapping[str, Any] | None, with_head: bool | str) -> None:
    """See `FusedModel.save_adapter_fusion`."""
    folder, fusion, architecture = Path(directory), model.fusions[name], model.architecture
    head = with_head if isinstance(with_head, str) else name
    if with_head and model.static is None and head not in model.heads_of():
        raise ValueError(unknown("head named", head, model.heads_of()))
    kind = type(model).__name__
    tensors = adapterhub_fusion.export_fusion(fusion, name, architecture, kind != architecture.class_name())
    called, width = adapting.model_name(model), model.base.config.width
    content = adapterhub_fusion.fusion_json(name, fusion, kind, called, architecture, width)
    content = adapterhub.with_meta(content, meta)
    with together():
        write_tensors(folder / adapterhub_fusion.WEIGHTS[0], tensors)
        write_json(folder / adapterhub_fusion.CONFIG, content)
        if with_head:
            model.write_head(folder, head)


def read(
    model: Host,
    source: Source,
    load_as: str | None = None,
    version: str | None = None,
    allow_pickle: bool = True,
    adapters: Mapping[str, Adapter] | None = None,
) -> tuple[str, Fusion]:
    """A fusion's name and the fusion, read and checked. The model is not touched.

    Args:
        model: what it is for.
        source: where it lies.
        load_as: the name to give it; its own if None.
        version: branch, tag or commit on the Hub.
        allow_pickle: whether PyTorch's own files may be read (tensors only).
        adapters: the adapters that there will be; the model's if None.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it does not fit; every problem is named.
    """
    content = read_json(require(source, adapterhub_fusion.CONFIG, version))
    file = adapterhub_fusion.read_fusion_json(content, model.architecture, model.base.config.width)
    name = file.name if load_as is None else load_as
    model.fusions.check_new(name, overwrite_ok=True)
    there = dict(model.adapters.items()) if adapters is None else adapters
    return name, made_of(model, content, read_tensors(fusion_weights(source, version), allow_pickle), there)


def made_of(
    model: Host, content: Mapping[str, Any], tensors: Mapping[str, Tensor], adapters: Mapping[str, Adapter]
) -> Fusion:
    """The fusion that AdapterHub's files describe.

    Args:
        model: what it is for.
        content: what its `adapter_fusion_config.json` holds.
        tensors: its tensors by the file's names.
        adapters: the adapters that there will be.

    Raises:
        ValueError: they do not fit the model or each other; every problem is named.
    """
    file = adapterhub_fusion.read_fusion_json(content, model.architecture, model.base.config.width)
    known = [adapter for adapter in file.adapters if adapter in adapters]
    needed = sites_for(known, adapters, model.base.config) if known else []
    return adapterhub_fusion.import_fusion(file, tensors, needed, model.architecture, model.base)


def fusion_weights(source: Source, version: str | None = None) -> Path:
    """The file of a fusion's tensors.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in adapterhub_fusion.WEIGHTS:
        path = find(source, name, version)
        if path is not None:
            return path
    lacking = " nor ".join(adapterhub_fusion.WEIGHTS)
    raise FileNotFoundError(f"{source!s} has no adapter fusion's tensors: neither {lacking}")


def load(
    model: Host,
    source: Source,
    load_as: str | None,
    version: str | None,
    set_active: bool,
    with_head: bool,
    allow_pickle: bool,
) -> str:
    """See `FusedModel.load_adapter_fusion`."""
    name, fusion = read(model, source, load_as, version, allow_pickle)
    block = Fuse(*fusion.names, name=name)
    if set_active:
        Plan(block, dict(model.adapters.items()), model.base, fusions={name: fusion})  # for its errors
    place_head = _head(model, source, load_as, version, allow_pickle) if with_head else None
    model.adapters.put_fusion(name, fusion)
    if place_head is not None:
        place_head()
    if set_active:
        model.set_active_adapters(block)
    return name


def _head(
    model: Host, source: Source, load_as: str | None, version: str | None, allow_pickle: bool
) -> Callable[[], None] | None:
    """What puts the head in a folder in place, under its own name if no other is given; None where there is none."""
    if not head_files.has_head(source, version):
        return None
    name = load_as or head_files.read_head(source, allow_pickle, version).name or "default"
    place: Callable[[], None] | None = model.head_reader(source, name, allow_pickle, version)
    return place


# ---------------------------------------------------------------------------------------------- several together


def folder_of(name: str) -> str:
    """The folder of a part of a setup: its name, as AdapterHub has it, where that can be a folder's."""
    plain = name not in (".", "..") and not set(name) & set("/\\\0")
    return name if plain else NamedModules.slug(name)


def with_id(config: AdapterConfig, meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """More entries for a file, AdapterHub's id of the config among them."""
    return {**(meta or {}), "config_id": get_adapter_config_hash(config.to_dict())}


def heads_in(heads: Any) -> list[str]:
    """The heads' names in what may say which heads go with a setup."""
    return [] if heads is True else list(dict.fromkeys(HeadChoice.names(heads)))


def save_setup(model: Any, directory: Source, setup: Setup, heads: Any, meta: Mapping[str, Any] | None) -> None:
    """See `FusedModel.save_adapter_setup`."""
    folder, block = Path(directory), model.adapters.checked(setup)
    if block is None:
        raise ValueError("name the adapters to save")
    if heads is True and model.static is None:
        raise ValueError(f"{type(model).__name__} has named heads: name those to save")
    lost = [head for head in heads_in(heads) if head not in model.heads_of()]
    if lost:
        raise ValueError("; ".join(unknown("head named", head, model.heads_of()) for head in lost))
    with together():
        for name in dict.fromkeys(names_in(block)):
            adapting.save_adapter(model, folder / folder_of(name), name, True, meta)
        for name in dict.fromkeys(fusions_in(block)):
            save(model, folder / folder_of(name), name, meta, False)
        for head in heads_in(heads):
            model.write_head(folder / folder_of(head), head)
        if heads is True:
            model.write_head(folder, "default")
        write_json(folder / adapterhub_fusion.SETUP, adapterhub_fusion.setup_json(block, heads))


class SetupReader:
    """Reads all parts of a setup, and keeps what is wrong with each.

    Args:
        model: what they are for.
        source: where they lie.
        version: branch, tag or commit on the Hub.
        allow_pickle: whether PyTorch's own files may be read (tensors only).
    """

    def __init__(self, model: Host, source: Source, version: str | None, allow_pickle: bool) -> None:
        self.model, self.source, self.version, self.allow_pickle = model, source, version, allow_pickle
        self.problems: list[str] = []

    def part(self, what: str, name: str, files: Sequence[str], read: Callable[[Source], T]) -> T | None:
        """A part, read from its folder; None if that fails."""
        try:
            folder = folder_of(name)
            paths = [path for file in files if (path := find(self.source, f"{folder}/{file}", self.version))]
            if not paths:
                raise FileNotFoundError(f"there is no {folder}/{files[0]}")
            return read(paths[0].parent)
        except (ValueError, OSError) as error:
            self.problems.append(f"{what} {name!r}: {error}")
            return None

    def adapter(self, name: str) -> adapting.Loaded | None:
        """An adapter and the head beside it."""
        files = (adapterhub.CONFIG, *adapterhub.WEIGHTS, adapterhub.HEAD_CONFIG, *adapterhub.HEAD_WEIGHTS)
        return self.part(
            "adapter",
            name,
            files,
            lambda folder: adapting.read_adapter(self.model, folder, load_as=name, allow_pickle=self.allow_pickle),
        )

    def fusion(self, name: str, adapters: Mapping[str, Adapter]) -> Fusion | None:
        """A fusion of these adapters."""
        files = (adapterhub_fusion.CONFIG, *adapterhub_fusion.WEIGHTS)
        found = self.part(
            "adapter fusion",
            name,
            files,
            lambda folder: read(self.model, folder, name, None, self.allow_pickle, adapters),
        )
        return None if found is None else found[1]

    def head(self, name: str) -> Callable[[], None] | None:
        """What puts a head in place."""
        files = (adapterhub.HEAD_CONFIG, *adapterhub.HEAD_WEIGHTS)
        return self.part("head", name, files, lambda folder: self._head_in(folder, name))

    def _head_in(self, folder: Source, name: str) -> Callable[[], None]:
        place: Callable[[], None] | None = self.model.head_reader(folder, name, self.allow_pickle, None)
        if place is None:
            raise FileNotFoundError(f"{folder!s} has no {adapterhub.HEAD_CONFIG}")
        return place


def load_setup(
    model: Any, source: Source, version: str | None, set_active: bool, allow_pickle: bool
) -> tuple[AdapterCompositionBlock, Any]:
    """See `FusedModel.load_adapter_setup`."""
    content = read_json(require(source, adapterhub_fusion.SETUP, version))
    block, heads = adapterhub_fusion.read_setup_json(content)
    reader = SetupReader(model, source, version, allow_pickle)
    loaded = [one for name in dict.fromkeys(names_in(block)) if (one := reader.adapter(name)) is not None]
    adapters = {**dict(model.adapters.items()), **{one.name: one.adapter for one in loaded}}
    fusions = {name: made for name in fusions_in(block) if (made := reader.fusion(name, adapters)) is not None}
    placers = [place for head in heads_in(heads) if (place := reader.head(head)) is not None]
    if heads is True:  # that of a class with a fixed head; one with flexible heads gives it the name that it is read by
        own = model.head_reader(source, "default", allow_pickle, version)
        placers += [] if own is None else [own]
        if model.static is None:
            heads = None if own is None else "default"
    if reader.problems:
        raise ValueError(f"the adapter setup in {source!s} does not fit:\n  " + "\n  ".join(reader.problems))
    Plan(block, adapters, model.base, fusions=fusions)  # for its errors
    for one in loaded:
        one.place(model)
    for name, fusion in fusions.items():
        model.adapters.put_fusion(name, fusion)
    for place in placers:
        place()
    if set_active:
        model.set_active_adapters(block)
        if heads and heads is not True:
            model.active_head = heads
    return block, heads
