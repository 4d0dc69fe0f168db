"""Two models, or a model with two adapters, on the same inputs: where do their answers part, and by how much."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo import zoo
from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.core.outputs import ModelOutput
from adapterzoo.pretrained import STATE, read_config
from adapterzoo.store import FileError, Source, find
from adapterzoo.tokenizer import Tokenizer

ROWS, LENGTH = 4, 16
"""Rows of the inputs that are drawn, and the tokens of the longest."""


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


def runnable(source: Source, base: Source | None = None, allow_pickle: bool = False) -> Any:
    """What lies there, as a model that runs: of the class that it says, or of its base with the adapter active.

    Args:
        source: a model's or an adapter's directory or repository.
        base: the model that an adapter is for.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).

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
    if STATE in read_config(source).extra:
        return AutoAdapterModel.from_pretrained(source, allow_pickle=allow_pickle)
    found = open_checkpoint(source, allow_pickle)
    kind: Any = zoo.CLASSES[found.class_name]
    return kind.from_pretrained(source, allow_pickle=allow_pickle)


def class_for(model: Any) -> tuple[str, int | None]:
    """HF's class that has what a model has, its network and its active head, and how many labels that head has.

    Raises:
        ValueError: HF has no class with such a head.
    """
    if model.static is not None or not isinstance(getattr(model, "active_head", None), str):
        return str(model.architecture.class_name(model.static)), None
    fixed = model.to_static()
    return type(fixed).__name__, fixed.config.num_labels


def drawn_inputs(model: Any, seed: int = 0) -> dict[str, Tensor]:
    """Random ids, the same for every model of a vocabulary's size: rows of several lengths that end as texts do."""
    config, numbers = model.config, model.base.config
    positions = numbers.first.positions - numbers.first.position_offset
    length = min(LENGTH, positions) if positions > 0 else LENGTH
    padding, end = (_id(config, name, numbers.vocab) for name in ("pad_token_id", "eos_token_id"))
    ordinary = [number for number in range(numbers.vocab) if number not in (padding, end)]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, len(ordinary), (ROWS, length), generator=generator)
    ids = torch.tensor(ordinary)[drawn]
    mask = torch.zeros(ROWS, length, dtype=torch.long)
    for row in range(ROWS):
        last = max(1, length - 3 * row) - 1
        mask[row, : last + 1] = 1
        ids[row, last + 1 :] = 0 if padding is None else padding
        if end is not None:
            ids[row, last] = end
    return {"input_ids": ids, "attention_mask": mask}


def _id(config: Any, name: str, vocab: int) -> int | None:
    """A special token's id; None where the model has none."""
    found = getattr(config, name, None)
    return found if isinstance(found, int) and 0 <= found < vocab else None


def text_inputs(texts: Sequence[str], source: Source) -> dict[str, Tensor]:
    """Texts through the tokenizer that lies beside a model.

    Raises:
        FileNotFoundError: there is no tokenizer.
        ValueError: there are no texts.
    """
    if not texts:
        raise ValueError("there is no text to compare on")
    encoded = Tokenizer.from_pretrained(source)(list(texts), padding=True, truncation=True, return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


@torch.no_grad()
def answers(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's outputs by name, hidden states of each layer first; at padding they are zeros."""
    output = model.eval()(**inputs, output_hidden_states=True, return_dict=True)
    found = dict(_flat(output))
    layers = [name for name in found if "hidden_states." in name]
    layers.sort(key=lambda name: not name.startswith("encoder"))  # which runs first, though it is told last
    return {name: found[name] for name in [*layers, *(name for name in found if name not in layers)]}


def _flat(output: ModelOutput | Any) -> Iterator[tuple[str, Tensor]]:
    for name, value in output.items():
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, tuple | list) and all(isinstance(one, Tensor) for one in value):
            yield from ((f"{name}.{number}", one) for number, one in enumerate(value))


def compare(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], mask: Tensor | None, tolerance: float
) -> Verdict:
    """The differences of two models' outputs.

    Args:
        first: the one's outputs.
        second: the other's.
        mask: (B, T), 1 at tokens: what outputs by token hold at padding is not compared. None: there is none.
        tolerance: largest difference that is none.
    """
    both = [name for name in first if name in second]
    only = sorted({*first, *second} - {*both})
    return Verdict([_gap(name, first[name], second[name], mask) for name in both], tolerance, only)


def _gap(name: str, one: Tensor, other: Tensor, mask: Tensor | None) -> Gap:
    if one.shape != other.shape:
        return Gap(name, float("inf"), float(one.abs().max()))
    one, other = one.double(), other.double()
    if mask is not None and one.shape[: mask.dim()] == mask.shape:
        one, other = one[mask.bool()], other[mask.bool()]
    largest = float((one - other).abs().max()) if one.numel() else 0.0
    return Gap(name, largest if largest == largest else float("inf"), float(one.abs().max()) if one.numel() else 0.0)
