"""A model's directory, looked into: its architecture, its class, and which tensor is which. No weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from torch import Tensor

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, Architecture, ModelConfig, StaticHead
from adapterzoo.conversion.unheard import unheard
from adapterzoo.core.registry import UnknownName, unknown
from adapterzoo.fit import Fit, fit
from adapterzoo.formats import hf
from adapterzoo.pretrained import CheckpointError, check_depth, head_of, read_config
from adapterzoo.store import Source


@dataclass
class Checkpoint:
    """A checkpoint and the class whose tensors it holds.

    Attributes:
        source: where it lies.
        config: its config.
        tensors: its tensors, read when they are looked at.
        stated: the class that config.json names, if it names one.
        model: a model of the class on the meta device, for its shapes.
        fit: how the tensors fit that class.
    """

    source: Source
    config: ModelConfig
    tensors: Mapping[str, Tensor]
    stated: str | None
    model: Any
    fit: Fit

    @property
    def architecture(self) -> Architecture:
        """Its architecture, as its config has it: a pair's tables are made of two others'."""
        architecture: Architecture = self.model.architecture
        return architecture

    @property
    def class_name(self) -> str:
        """The class's name."""
        return type(self.model).__name__

    @property
    def problems(self) -> list[str]:
        """Why it cannot be a whole model of the class, in words; what is over is not among it."""
        static = self.model.static
        lost = [hf.foreign_names(self.architecture, static, name) for name in lacking(self.model, self.fit)]
        return [*self.fit.problems, *(f"{name} is not there" for names in lost for name in names)]

    @cached_property
    def better(self) -> list[str]:
        """The other classes that it would be whole for, with the least left over."""
        names = candidates(self.architecture, self.config, self.tensors)
        return [name for name in names if name != self.class_name]

    def check(self, drop: Sequence[str] = ()) -> None:
        """Make sure that every tensor has a place and every place a tensor.

        Args:
            drop: patterns, as a shell has them, of the names of tensors that need no place: "*" for all.

        Raises:
            CheckpointError: it is not so; all tensors are named, and the classes that would do.
        """
        problems = sorted(self.problems)
        over = [key for key in self.fit.unexpected if not any(fnmatchcase(key, pattern) for pattern in drop)]
        problems += [f"{key} has no place" for key in over]
        if not problems:
            return
        hint = f"\nIt fits {' or '.join(self.better)}: name the class with --class" if self.better else ""
        if not self.problems:
            hint += "\nTo leave out what has no place, pass --drop with its name, or a pattern of names"
        listed = "\n  ".join(problems)
        raise CheckpointError(f"{self.source} is no whole {self.class_name}:\n  {listed}{hint}")


def open_checkpoint(
    source: Source, allow_pickle: bool = False, model_type: str | None = None, class_name: str | None = None
) -> Checkpoint:
    """Look into a model's directory, or a repository on the Hub.

    Args:
        source: the directory or repository.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        model_type: its architecture, where its config.json does not say it.
        class_name: its class, in place of the one that its config.json names.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: its files cannot be read, or the architecture or class is none of ours.
    """
    config = read_config(source, None, None if model_type is None else ARCHITECTURES[model_type].config)
    tensors = hf.open_checkpoint(source, allow_pickle, kept=False)
    architecture = ARCHITECTURES[config.model_type].under(config)
    check_depth(architecture, config, tensors)
    stated = next(iter(config.architectures or []), None)
    known = {kind.__name__: kind for kind in _classes(architecture)}
    if class_name is not None and class_name not in known:
        raise UnknownName(unknown(f"class of {architecture.name}'s", class_name, known))
    if class_name is not None:
        kind = known[class_name]
    elif stated in known:
        kind = _class(architecture, head_of(architecture, config, tensors))
    else:  # none is named, or none of ours; a flexible model's weights are those of the bare one
        fitting = candidates(architecture, config, tensors)
        kind = known[fitting[0]] if len(fitting) == 1 else _class(architecture, None)
    model = kind(config, initialise=False)
    return Checkpoint(source, config, tensors, stated, model, _fit(model, tensors))


def candidates(architecture: Architecture, config: ModelConfig, tensors: Mapping[str, Tensor]) -> list[str]:
    """The classes that a checkpoint is whole for, and of these the ones that leave the least of it over."""
    left: dict[str, int] = {}
    for kind in _classes(architecture):
        with unheard():
            model = kind(config, initialise=False)
        found = _fit(model, tensors)
        if not (found.problems or found.unexpected or lacking(model, found)):
            left[kind.__name__] = len(found.homeless)
    return [name for name, count in left.items() if count == min(left.values())]


def lacking(model: Any, found: Fit) -> list[str]:
    """What would have to be made up, beyond what `Fit.problems` tells: a head, or the pooler that a head reads."""
    return [
        name for name in found.told if name.startswith("head.") or (name.startswith("base.pooler.") and model.static)
    ]


def _classes(architecture: Architecture) -> Iterator[Any]:
    return (_class(architecture, static) for static in (None, *architecture.statics))


def _class(architecture: Architecture, static: StaticHead | None) -> Any:
    """The class with that head. Without any it is the bare one; where none is bare, the one with flexible heads."""
    flexible = static is None and None not in architecture.classes
    return zoo.CLASSES[f"{architecture.name}AdapterModel" if flexible else architecture.class_name(static)]


def _fit(model: Any, tensors: Mapping[str, Tensor]) -> Fit:
    return fit(model, model.head_target(None, {}), tensors)
