"""A model with all that lies beside it as one checkpoint, as AdapterHub's library saves a whole model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from adapterzoo import adapting, fusing
from adapterzoo.adapter import Adapter
from adapterzoo.conversion.checkpoint import Checkpoint
from adapterzoo.conversion.convert import foreign
from adapterzoo.conversion.dtypes import exact_dtype, kept_dtype
from adapterzoo.conversion.output import Output
from adapterzoo.conversion.recast import bare, to_flexible
from adapterzoo.conversion.stand_ins import nothing
from adapterzoo.core.blank import blank
from adapterzoo.core.registry import listing
from adapterzoo.formats import Content, adapterhub, adapterhub_fusion, adapterhub_model, read
from adapterzoo.formats import adapterhub_library as library
from adapterzoo.formats.lazy import Lazy
from adapterzoo.fusion import Fusion
from adapterzoo.head_files import OPTIONAL, head_file
from adapterzoo.heads.make import make_head
from adapterzoo.methods.config_id import get_adapter_config_hash
from adapterzoo.pretrained import STATE

Makers = dict[str, Callable[[], Tensor]]


def to_adapterhub(checkpoint: Checkpoint, drop: Sequence[str] = ()) -> Output:
    """The model with flexible heads, adapters and fusions, all in one checkpoint for `adapters`' AutoAdapterModel.

    Args:
        checkpoint: a checkpoint that `Checkpoint.check` found whole.
        drop: patterns of the folders of what need not go along where the library has nothing like it.

    Raises:
        ValueError: the library has nothing like it, or nothing that can be loaded; every reason is told.
    """
    architecture = checkpoint.architecture
    if architecture.model_type not in library.HEADS:
        raise ValueError(f"adapters has no class with flexible heads for {architecture.model_type}")
    flexible, network = to_flexible(checkpoint), bare(checkpoint)
    joined = _Joined(network.model, drop)
    for path in sorted(flexible.beside):  # adapters come before their fusions
        joined.add(path, flexible.beside[path])
    if joined.problems:
        told = "\n  ".join(joined.problems)
        raise ValueError(
            f"adapters cannot hold all of it:\n  {told}\nTo leave such behind, pass --drop with its folder"
        )
    config = copy.copy(flexible.config)
    state = config.extra.get(STATE, {})
    config.extra = {key: value for key, value in config.extra.items() if key != STATE}
    tensors = Lazy({**foreign(network, architecture.stem).makers, **joined.makers})
    class_name = f"{architecture.name}AdapterModel"
    notes = [*joined.notes, *_unsaid(state)]
    return Output(checkpoint.source, config, class_name, tensors, {}, notes, joined.entries())


def _unsaid(state: Mapping[str, Any]) -> Iterator[str]:
    """What the library's whole models do not say."""
    if state.get("active_adapters") is not None:
        yield "no adapter is active there after loading"
    if state.get("merged_adapters"):
        yield f"{', '.join(state['merged_adapters'])}: not merged there after loading"
    if state.get("shared_parameters"):
        yield "parameters that adapters share are copies there"


class _Joined:
    """Parts that become one checkpoint with their model.

    Args:
        model: a flexible model, for its sizes.
        drop: patterns of the folders of parts that may be left behind.

    Attributes:
        makers: what makes each tensor.
        problems: what the library has nothing for.
        notes: what is left behind.
    """

    def __init__(self, model: Any, drop: Sequence[str]) -> None:
        self.model, self.drop = model, drop
        self.network = cache(partial(nothing, model.base.config))
        self.makers: Makers = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.adapters: dict[str, Adapter] = {}
        self.fusions: dict[str, Fusion] = {}
        self.heads: dict[str, dict[str, Any]] = {}

    def add(self, path: str, part: Path | Content) -> None:
        """Take up a part; or note why that cannot be, or that it stays behind."""
        kinds = {"adapters": self._adapter, "fusions": self._fusion, "heads": self._head}
        kind = kinds.get(path.split("/")[0])
        try:
            lacking = ["embedding beside the model's own"]
            if kind is not None:
                content = part if isinstance(part, Content) else read(part)
                name = str(content.config.get("name"))
                lacking = kind(name, content) if library.is_name(name) else [f"room for the name {name!r}"]
        except ValueError as error:
            self.problems.append(f"{path}: {error}")
            return
        if lacking and any(fnmatchcase(path, pattern) for pattern in self.drop):
            self.notes.append(f"{path} stays behind: adapters has no {', '.join(lacking)}")
        else:
            self.problems += [f"{path}: adapters has no {one}" for one in lacking]

    def _model_for(self, content: Content) -> Any:
        """The model, without values, in a dtype that rounds none of a part's."""
        self.model.base = self.network(exact_dtype(content.tensors))
        return self.model

    def _adapter(self, name: str, content: Content) -> list[str]:
        model = self._model_for(content)
        network = model.base.config
        adapter = adapting.made_of(model, content.config, content.tensors)
        lacking = list(library.lacks(adapter.config, model.architecture, network))
        if not lacking:
            adapter.to(kept_dtype(content.tensors))
            self._put(adapterhub.export_adapter(adapter, name, model.architecture, network, True))
            self.adapters[name] = adapter
        return lacking

    def _fusion(self, name: str, content: Content) -> list[str]:
        fusion = fusing.made_of(self._model_for(content), content.config, content.tensors, self.adapters)
        gone = [one for one in fusion.names if one not in self.adapters]
        lacking = [f"adapter {one}, which stays behind" for one in gone]
        members = [self.adapters[one].config.hub_config() for one in fusion.names if one not in gone]
        lacking += library.lacks_of_fusion(fusion.config, members)
        if not lacking:
            fusion.to(kept_dtype(content.tensors))
            self._put(adapterhub_fusion.export_fusion(fusion, name, self.model.architecture, True))
            self.fusions[name] = fusion
        return lacking

    def _head(self, name: str, content: Content) -> list[str]:
        file = head_file(content.config, content.tensors)
        if file.config is None:
            raise ValueError(f"the head of {file.model_class} has no name")
        lacking = list(library.lacks_of_head(file.config, self.model.architecture.model_type))
        stem = f"heads.{file.name}."
        names = {key: key.removeprefix(stem) for key in content.tensors if key.startswith(stem)}
        lacking += [f"{ours} in heads" for ours in names.values() if ours in OPTIONAL]
        if not lacking:
            with blank():
                head = make_head(self.model, name, file.config)
            if wrong := ({*names.values()} ^ {*head.state_dict()}) - {*OPTIONAL, *head.tied}:
                raise ValueError(f"the head {name!r} does not fit: {listing(wrong)}")
            taken = {key: f"heads.{name}.{ours}" for key, ours in names.items() if ours not in head.tied}
            self.makers |= {new: partial(content.tensors.__getitem__, key) for key, new in taken.items()}
            self.heads[name] = {key: value for key, value in file.config.items() if key not in library.IN_TRAINING}
        return lacking

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        self.makers |= {name: partial(tensors.__getitem__, name) for name in tensors}

    def entries(self) -> dict[str, Any]:
        """What `config.json` has of them."""
        names, configs = _by_hash({name: adapter.config.hub_config() for name, adapter in self.adapters.items()})
        told = {
            "adapters": names,
            "config_map": configs,
            "fusions": {name: library.preset_of(fusion.config) for name, fusion in self.fusions.items()},
            "fusion_config_map": {},
            "fusion_name_map": {name: list(fusion.names) for name, fusion in self.fusions.items()},
        }
        return {adapterhub_model.ADAPTERS: told, adapterhub_model.HEADS: self.heads}


def _by_hash(configs: Mapping[str, dict[str, Any]]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Which config each has, and the configs. Two configs may have one hash in the library; here each has its name."""
    names, known = dict[str, str](), dict[str, dict[str, Any]]()
    for name, config in configs.items():
        digest = get_adapter_config_hash(config)
        names[name] = digest if known.get(digest, config) == config else f"{digest}-{name}"
        known[names[name]] = config
    return names, known
