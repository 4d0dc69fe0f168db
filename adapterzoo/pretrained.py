"""Loading and saving whole models: config, weights, and the adapters and heads beside them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo import embedding_files, sharing
from adapterzoo.archs.base import ARCHITECTURES, Architecture, StaticHead
from adapterzoo.archs.config import ModelConfig
from adapterzoo.core.compose import AdapterCompositionBlock
from adapterzoo.core.fields import fits
from adapterzoo.core.registry import NamedModules, listing, unknown
from adapterzoo.embeddings import at_default
from adapterzoo.fit import Fit, fit, holders
from adapterzoo.formats import adapterhub, adapterhub_fusion, adapterhub_model, hf
from adapterzoo.inside import restore, taken_apart
from adapterzoo.merging import unmerged
from adapterzoo.quantizing import check_float
from adapterzoo.store import FileError, Source, find, read_json, require, write_json, write_tensors
from adapterzoo.writing import together

logger = logging.getLogger("adapterzoo")

GENERATION = "generation_config.json"
MANY_LAYERS = 200  # more than these, and a checkpoint must have a tensor for each
STATE = "adapterzoo"  # config.json's entry for what was active

KINDS = {
    "adapters": (adapterhub.CONFIG, adapterhub.WEIGHTS[0]),
    "fusions": (adapterhub_fusion.CONFIG, adapterhub_fusion.WEIGHTS[0]),
    "heads": (adapterhub.HEAD_CONFIG, adapterhub.HEAD_WEIGHTS[0]),
    "embeddings": (embedding_files.WEIGHTS, *embedding_files.TOKENIZER_FILES),
}
"""What may lie beside a saved model, in folders of these names: the files of each."""


class CheckpointError(ValueError):
    """A checkpoint that does not fit its model. The message names every problem."""


@dataclass
class LoadReport:
    """What loading found.

    Attributes:
        missing_keys: our tensors that the checkpoint does not hold; they were newly initialised.
        unexpected_keys: the checkpoint's tensors that the model has no place for.
    """

    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)


def read_config(
    source: Source, revision: str | None = None, kind: type[ModelConfig] | None = None, **changes: Any
) -> ModelConfig:
    """The config of a checkpoint.

    Args:
        source: a directory or Hub id.
        revision: branch, tag or commit on the Hub.
        kind: the config's class; found by `model_type` if None.
        changes: fields to set.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: it is not JSON, lacks fields, or names an architecture that is not here.
    """
    path = require(source, "config.json", revision)
    data = read_json(path)
    if kind is None:
        kind = _architecture_named(path, data).config
    unheard = [key for key in changes if key not in kind.names() and key not in data]
    if unheard:
        raise TypeError(unknown(f"argument, and no field of {kind.__name__}, named", unheard[0], kind.names()))
    if changes.get("num_labels") is not None or changes.get("id2label") is not None:
        data = {key: value for key, value in data.items() if key not in ("id2label", "label2id", "num_labels")}
    return kind.from_dict({**data, **changes}, str(path))


def _architecture_named(path: Path, data: Mapping[str, Any]) -> Architecture:
    name = data.get("model_type")
    if name is None:
        raise FileError(
            f"{path} has no model_type, one of {listing(ARCHITECTURES)}; use the architecture's own class, or on the "
            "command line --model-type"
        )
    if name not in ARCHITECTURES:
        raise FileError(f"{path}: {unknown('architecture', name, ARCHITECTURES)}")
    return ARCHITECTURES[name]


# ---------------------------------------------------------------------------------------------- loading


def load(
    cls: Any,
    source: Source,
    config: ModelConfig | None,
    revision: str | None,
    allow_pickle: bool,
    dtype: torch.dtype | str | None,
    ignore_mismatched_sizes: bool,
    options: dict[str, Any],
) -> tuple[Any, LoadReport]:
    """See `Model.from_pretrained`."""
    own = {key: options.pop(key) for key in ("add_pooling_layer", "convert_head") if key in options}
    if config is None:
        config = read_config(source, revision, cls.architecture.config, **options)
    elif options:
        raise TypeError(f"with a config given, set its fields there, not by {listing(options)}")
    tensors = hf.open_checkpoint(source, allow_pickle, revision)
    inside = None if STATE in config.extra else taken_apart(config, tensors)
    tensors = tensors if inside is None else inside.tensors
    check_depth(cls.architecture.under(config), config, tensors)
    pooling = {key: own.pop(key) for key in ("add_pooling_layer",) if key in own}
    model = cls(config, initialise=False, **pooling)
    checkpoint = head_of(model.architecture, config, tensors)
    target = model.head_target(checkpoint, own)
    found = fit(model, target, tensors, ignore_mismatched_sizes)
    report = fill(model, target[0] if target else None, found, tensors, dtype_for(dtype, tensors, found))
    _restore_folders(model, source, revision, allow_pickle)
    if inside is not None:
        restore(model, inside)
        extra = model.config.extra  # in which they are stale from now on
        model.config.extra = {key: value for key, value in extra.items() if key not in adapterhub_model.ENTRIES}
    generation = find(source, GENERATION, revision)
    model.generation_file = None if generation is None else read_json(generation)
    if not Path(source).is_dir():  # a path of this machine would mean nothing in the files that name the model
        model.config.extra["_name_or_path"] = str(source)
    model.eval()
    return model, report


def check_depth(architecture: Architecture, config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Check, before a model of very many layers is made, that a checkpoint may have as many as its config says.

    Raises:
        CheckpointError: it has fewer tensors than that.
    """
    layers = architecture.network(config).layers
    if layers > max(MANY_LAYERS, len(tensors)):
        raise CheckpointError(
            f"the checkpoint does not fit: its config says {layers:,} layers, but it holds {len(tensors)} tensors"
        )


def head_of(architecture: Architecture, config: ModelConfig, tensors: Mapping[str, Tensor]) -> StaticHead | None:
    """The head that a checkpoint has. Where there is no bare class, its tensors tell whether there is one."""
    found = architecture.static((config.architectures or [None])[0], config)
    if found is None or None in architecture.classes:
        return found
    return found if any(name.startswith("head.") for name in hf.place(tensors, architecture, found).sources) else None


def dtype_for(asked: torch.dtype | str | None, tensors: Mapping[str, Tensor], found: Fit) -> torch.dtype:
    """The dtype that weights shall have: what is asked for, or the checkpoint's own."""
    if isinstance(asked, torch.dtype):
        asked = str(asked).removeprefix("torch.")
    if asked is None:
        return torch.float32
    if asked != "auto":
        named = getattr(torch, str(asked), None)
        if not isinstance(named, torch.dtype) or not named.is_floating_point:
            raise ValueError(f"dtype must be one of torch's floating-point dtypes or 'auto', not {asked!r}")
        return named
    first = next((parts[0] for parts in found.sources.values()), None)
    return torch.float32 if first is None else tensors[first].dtype


def fill(model: Any, head: Any, found: Fit, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> LoadReport:
    """Give the network and the head their tensors; what is missing is initialised, what cannot be is an error."""
    if found.problems:
        raise CheckpointError("the checkpoint does not fit:\n  " + "\n  ".join(sorted(found.problems)))
    parts_of = holders(model, head)
    owners = _owners(parts_of)
    for name, parts in found.sources.items():
        order = hf.block_order(model.architecture, model.base.config, name)
        _put(owners, name, hf.gather(parts, tensors, order).to(dtype))
    report = LoadReport(found.told, found.left_over)
    initialise_missing(parts_of, found.missing, model.base.config.init_std, dtype)
    if head is not None:
        head.tie(model)
    _tell(type(model).__name__, report)
    return report


def _owners(holders: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The modules that our tensors belong to, by what is before the last dot of these tensors' names."""
    inner = [(space, holder.named_modules(remove_duplicate=False)) for space, holder in holders.items()]
    return {f"{space}.{name}" if name else space: module for space, modules in inner for name, module in modules}


def _put(owners: Mapping[str, nn.Module], name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    module = owners[owner]
    if leaf in module._buffers:
        module._buffers[leaf] = value
    else:
        module._parameters[leaf] = nn.Parameter(value, requires_grad=module._parameters[leaf].requires_grad)  # type: ignore[union-attr]


def _tell(name: str, report: LoadReport) -> None:
    if report.unexpected_keys:
        logger.info("%s has no place for %s", name, ", ".join(report.unexpected_keys))
    if report.missing_keys:
        logger.warning("%s: newly initialised, for the checkpoint lacks %s", name, ", ".join(report.missing_keys))


# ---------------------------------------------------------------------------------------------- new weights


def initialise_all(base: nn.Module) -> None:
    """Give a network that lies on the meta device memory and random weights."""
    names = [f"base.{name}" for name in base.state_dict()]
    numbers: Any = base.config
    initialise_missing({"base": base}, names, numbers.init_std, torch.get_default_dtype())


def initialise_missing(holders: Mapping[str, nn.Module], names: list[str], std: float, dtype: torch.dtype) -> None:
    """New values: weights normal with deviation `std`, biases 0, LayerNorms the identity, the padding embedding 0."""
    if not names:
        return
    shapes = {
        f"{space}.{name}": tensor.shape
        for space, module in holders.items()
        for name, tensor in module.state_dict(keep_vars=True).items()
    }
    owners = _owners(holders)
    for name in names:
        owner, shape = owners[name.rpartition(".")[0]], shapes[name]
        if name.endswith("bias"):
            value = torch.zeros(shape, dtype=dtype)
        elif isinstance(owner, nn.LayerNorm):
            value = torch.ones(shape, dtype=dtype)
        else:
            value = torch.empty(shape, dtype=dtype).normal_(std=std)
            if isinstance(owner, nn.Embedding) and owner.padding_idx is not None:
                value[owner.padding_idx] = 0
        _put(owners, name, value)


# ---------------------------------------------------------------------------------------------- saving


def save(model: Any, directory: Source) -> None:
    """See `Model.save_pretrained`."""
    check_float(
        model,
        "is less than the checkpoint held: keep that, and save_adapter() and save_head() what was trained beside it",
    )
    active = model.embeddings.active
    with unmerged(model) as merged, at_default(model), together():  # HF's file holds what is the model's own
        _save(model, Path(directory), active, merged)


def _save(model: Any, folder: Path, active_embeddings: str, merged: tuple[str, ...]) -> None:
    static, architecture = model.static, model.architecture
    head = next(iter(model.heads_of().values())) if static is not None else None
    tied = head.tied if head is not None else set()
    tensors = hf.export(model.base, head, tied, architecture, static)
    class_name = architecture.class_name(static)
    config = config_json(model.config, class_name, next(model.base.parameters()).dtype)
    config.pop(STATE, None)
    heads = {} if static is not None else model.heads_of()
    if len(model.adapters) or len(model.fusions) or len(model.embeddings) or heads:
        config[STATE] = _state(model, list(heads), active_embeddings, merged)
    for name in model.adapters:
        model.save_adapter(folder / "adapters" / NamedModules.slug(name), name, with_head=False)
    for name in model.fusions:
        model.save_adapter_fusion(folder / "fusions" / NamedModules.slug(name), name)
    for name in heads:
        model.save_head(folder / "heads" / NamedModules.slug(name), name)
    embedding_files.save_all(model, folder / "embeddings")
    write_tensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", config)
    generation = model.generation_entries()
    if generation is None and (folder / GENERATION).is_file():  # one of another model must not stay
        generation = model.generation_config.to_dict()
    if generation is not None:
        write_json(folder / GENERATION, generation)


def _state(model: Any, heads: list[str], active_embeddings: str, merged: tuple[str, ...]) -> dict[str, Any]:
    """What config.json says of what lies beside it, and of what was active."""
    embeddings = {"embeddings": list(model.embeddings.added), "active_embeddings": active_embeddings}
    return {
        "active_adapters": _plain(model.adapters.active),
        "skip_layers": sorted(model.adapters.skip_layers),
        "adapters": list(model.adapters),
        "heads": heads,
        "active_head": _plain(getattr(model, "active_head", None)),
        **({"fusions": list(model.fusions)} if len(model.fusions) else {}),
        **({"merged_adapters": list(merged)} if merged else {}),
        **({"shared_parameters": sharing.to_plain(model.adapters)} if model.adapters.shares else {}),
        **(embeddings if len(model.embeddings) else {}),
    }


def _plain(setup: Any) -> Any:
    """A setup as JSON has it."""
    return setup.to_dict() if isinstance(setup, AdapterCompositionBlock) else setup


def _from_plain(setup: Any) -> Any:
    return AdapterCompositionBlock.from_dict(setup) if isinstance(setup, dict) else setup


def config_json(config: ModelConfig, class_name: str, dtype: torch.dtype) -> dict[str, Any]:
    """The content of `config.json` for weights of that class and dtype."""
    content = {**config.to_dict(), "architectures": [class_name], "dtype": str(dtype).removeprefix("torch.")}
    content.pop("torch_dtype", None)  # what `dtype` was called before; of a source that may have had another
    return content


def _restore_folders(model: Any, source: Source, revision: str | None, allow_pickle: bool) -> None:
    """The adapters, heads and embeddings that `save` wrote, and what was active."""
    state = model.config.extra.pop(STATE, None)
    if state is None:
        return
    kept = kept_names(state, source)
    for name in kept["heads"] if hasattr(model, "active_head") else []:  # a class with a fixed head has no others
        folder = kept_folder(source, "heads", NamedModules.slug(name), revision)
        model.load_head(folder, load_as=name, set_active=False, allow_pickle=allow_pickle)
    for name in kept["adapters"]:
        folder = kept_folder(source, "adapters", NamedModules.slug(name), revision)
        model.load_adapter(folder, load_as=name, with_head=False, allow_pickle=allow_pickle)
    for name in kept["fusions"]:
        folder = kept_folder(source, "fusions", NamedModules.slug(name), revision)
        model.load_adapter_fusion(folder, load_as=name, with_head=False, allow_pickle=allow_pickle)
    for name in kept["embeddings"]:
        model.load_embeddings(kept_folder(source, "embeddings", NamedModules.slug(name), revision), name)
    if kept["embeddings"]:
        model.set_active_embeddings(state.get("active_embeddings"))
    sharing.from_plain(model.adapters, state.get("shared_parameters", {}))
    if state.get("merged_adapters"):
        model.merge_adapter(state["merged_adapters"])
    active = _from_plain(state.get("active_adapters"))
    model.adapters.activate(active, model.base, state.get("skip_layers"))
    if state.get("active_head") is not None and hasattr(model, "active_head"):
        model.active_head = _from_plain(state["active_head"])


def kept_names(state: Any, source: Source) -> dict[str, list[str]]:
    """Names of what lies beside a saved model, by kind: see `KINDS`.

    Args:
        state: what its config.json has under `STATE`; None where it has nothing.
        source: the model, for the message.

    Raises:
        FileError: these are no lists of names.
    """
    told = {} if state is None else state
    kept: Any = {key: told.get(key, []) if isinstance(told, dict) else None for key in KINDS}
    if not fits(kept, Mapping[str, list[str]]):
        raise FileError(f"{os.fspath(source)!r}: config.json's {STATE!r} must hold lists of names, not {state!r}")
    return dict(kept)


def fixed_head_name(config: ModelConfig) -> str:
    """What a checkpoint's fixed head is called as a flexible one: "default", unless the checkpoint was made of such.

    Raises:
        FileError: config.json does not say it as it should.
    """
    state = config.extra.get(STATE)
    name = state.get("fixed_head", "default") if isinstance(state, dict) else "default"
    if not (isinstance(name, str) and name):
        raise FileError(f"config.json's {STATE!r} must hold a name as fixed_head, not {name!r}")
    return name


def kept_folder(source: Source, kind: str, name: str, revision: str | None = None) -> Path:
    """The folder of one of `KINDS` within a saved model; on the Hub, its files are fetched first.

    Raises:
        FileNotFoundError: it is not there, though config.json names it.
    """
    paths = [path for file in KINDS[kind] if (path := find(source, f"{kind}/{name}/{file}", revision))]
    if not paths:
        raise FileNotFoundError(f"{os.fspath(source)!r} has no {kind}/{name}, which its config.json names")
    return paths[0].parent
