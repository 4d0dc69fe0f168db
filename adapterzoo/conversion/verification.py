"""Two models, or a model with two adapters, on the same inputs: where do their answers part, and by how much."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo import zoo
from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.formats import adapterhub_model
from adapterzoo.pretrained import STATE
from adapterzoo.store import FileError, Source, find


class Gap(NamedTuple):
    """How far two models are apart in one of their outputs.

    Attributes:
        name: the output's name: "logits", "hidden_states.3".
        largest: the largest absolute difference; infinite where the outputs have other shapes or one is NaN.
        scale: the largest absolute number of the first one's output.
    """

    name: str
    largest: float
    scale: float


class Verdict(NamedTuple):
    """What came of it.

    Attributes:
        gaps: by output, in the order in which they are computed.
        tolerance: how much is no difference.
        only: outputs that one of the two alone has.
    """

    gaps: list[Gap]
    tolerance: float
    only: list[str]

    @property
    def parted(self) -> str | None:
        """The first output in which they differ: of hidden states, the layer where they part."""
        return next((gap.name for gap in self.gaps if not gap.largest <= self.tolerance), None)


def runnable(
    source: Source,
    base: Source | None = None,
    allow_pickle: bool = False,
    model_type: str | None = None,
    class_name: str | None = None,
) -> Any:
    """What lies there, as a model that runs: of the class that it says, or of its base with the adapter active.

    Args:
        source: a model's or an adapter's directory or repository.
        base: the model that an adapter is for.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        model_type: a model's architecture, where its config.json does not say it.
        class_name: a model's class, in place of the one that its config.json names.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it cannot be read or does not fit; or it is an adapter, and `base` is None.
    """
    if find(source, "config.json") is None:
        if base is None:
            raise FileError(f"{os.fspath(source)!r} is no model; of an adapter, give the model that it is for as base")
        model = AutoAdapterModel.from_pretrained(base, allow_pickle=allow_pickle)
        model.load_adapter(source, set_active=True, allow_pickle=allow_pickle)
        return model
    found = open_checkpoint(source, allow_pickle, model_type, class_name)
    told = found.config.extra
    if (STATE in told and class_name is None) or adapterhub_model.is_inside(told):
        return AutoAdapterModel.from_pretrained(source, allow_pickle=allow_pickle)
    kind: Any = zoo.CLASSES[found.class_name]
    return kind.from_pretrained(source, allow_pickle=allow_pickle, config=found.config)


def class_for(model: Any) -> tuple[str, dict[str, Any]]:
    """HF's class that has what a model has, its network and its active head, and the fields of its config for the head.

    Raises:
        ValueError: HF has no class with such a head.
    """
    if model.static is not None or not isinstance(getattr(model, "active_head", None), str):
        return str(model.architecture.class_name(model.static)), {}
    fixed = model.to_static()
    fields = {name: getattr(fixed.config, name) for name in ("num_labels", "problem_type")}
    return type(fixed).__name__, {name: value for name, value in fields.items() if value is not None}


@torch.no_grad()
def answers(
    model: Any, inputs: Mapping[str, Tensor], labelled: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """A model's outputs by name in the order in which they are computed: hidden states of each layer first, loss last.

    Args:
        model: the model.
        inputs: what it is called with; at padding its outputs are zeros.
        labelled: what it is called with, in a second call, for its loss; if nothing, that is not asked for.
    """
    found = flat(model.eval()(**inputs, output_hidden_states=True, return_dict=True))
    layers = [name for name in found if "hidden_states." in name]
    layers.sort(key=lambda name: not name.startswith("encoder"))  # which runs first, though it is told last
    found = {name: found[name] for name in [*layers, *(name for name in found if name not in layers)]}
    return {**found, "loss": model(**labelled, return_dict=True)["loss"]} if labelled else found


def flat(output: Any) -> dict[str, Tensor]:
    """The tensors of a model's output by name; those of several layers, or of several heads, by their numbers.

    Args:
        output: ours, or one of transformers'; anything with `items()`.
    """
    return dict(_flat(output, ""))


def _flat(output: Any, stem: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in output.items():
        several = value if isinstance(value, tuple | list) else ()
        named = [(stem + name, value), *((f"{stem}{name}.{number}", one) for number, one in enumerate(several))]
        for key, one in named:
            if isinstance(one, Tensor):
                yield key, one
            elif hasattr(one, "items"):
                yield from _flat(one, f"{key}.")


def compare(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    mask: Tensor | None,
    tolerance: float,
    by_token: bool = False,
) -> Verdict:
    """The differences of two models' outputs.

    Args:
        first: the one's outputs.
        second: the other's.
        mask: (B, T) or (B, choices, T), 1 at tokens: what outputs by token hold at padding is not compared. None:
            there is none.
        tolerance: largest difference that is none.
        by_token: whether outputs (B, T) are numbers of tokens, as an answer's start; else they are numbers of rows.
    """
    both = [name for name in first if name in second]
    only = sorted({*first, *second} - {*both})
    flat_mask = None if mask is None else mask.bool().flatten(0, -2)
    gaps = []
    for name in both:
        masked = flat_mask if first[name].dim() > 2 or by_token else None
        gaps.append(_gap(name, first[name], second[name], masked))
    return Verdict(gaps, tolerance, only)


def _gap(name: str, one: Tensor, other: Tensor, mask: Tensor | None) -> Gap:
    if one.shape != other.shape:
        return Gap(name, float("inf"), _largest(one))
    one, other = one.double(), other.double()
    if mask is not None and one.shape[:2] == mask.shape:
        one, other = one[mask], other[mask]
    largest = _largest(one - other)
    return Gap(name, largest if largest == largest else float("inf"), _largest(one))


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max()) if numbers.numel() else 0.0
