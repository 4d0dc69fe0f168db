"""Tensors whose values are odd: NaN, infinite, all zero, or as they were before any training."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo import embedding_files
from adapterzoo.conversion.facts import every, told, within
from adapterzoo.conversion.values import Values, values_of
from adapterzoo.core.misfit import wrong_dtype
from adapterzoo.formats import hf
from adapterzoo.formats.content import FILES
from adapterzoo.progress import Steps
from adapterzoo.store import Source, find, read_tensors
from adapterzoo.streaming import like, pieces

STD = 0.02
"""The deviation that weights begin with where no config says another: all these libraries' own."""

SIGMAS = 4.0
"""How many standard errors a mean, a deviation and a kurtosis may be off, and still be those of new weights."""

MANY = 10_000
"""With fewer values, a weight without a bias is not judged: too many trained ones would look like new."""

SHIFTS = {"weight": "bias", "gamma": "beta"}
"""What a weight's bias is called, by what the weight is called."""


def add_odd(facts: dict[str, Any], allow_pickle: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Add what is odd about the values of all tensors that some facts tell of: to each of the facts a list `odd`.

    An entry has the `tensor`, `what` is odd about it, and the `count` of values that are so: "NaN", "Inf", "all zero"
    or "untrained". Tensors are read one by one, with a progress bar where somebody watches.

    *All zero* is not told of what is zero in good checkpoints: the one row of an embedding of token types where there
    is one type alone, and `final_logits_bias`.

    *Untrained* are values as initialisation leaves them, told by a rule that a trained tensor hardly ever meets:

    * a LayerNorm's weight (one dimension): all ones, and its bias all zero;
    * a linear map's weight: its bias is all zero, and its mean, deviation and kurtosis are within `SIGMAS` standard
      errors of a normal distribution's about zero with the deviation that the config names (0.02 where none does);
    * a weight of a model's without a bias, an embedding above all: the same by its distribution alone, if it has
      `MANY` values; its standard error is small then;
    * (IA)³'s vectors: all ones;
    * a fusion's value: the identity, with 1e-6 beside the diagonal.

    A matrix that begins as zero, LoRA's B, is told as all zero. So an adapter that was trained, but little, is not
    told; nor is one whose weights begin otherwise, as a prefix does.

    Args:
        facts: what `inspect_source` returned.
        allow_pickle: whether PyTorch's own files may be read, too (tensors only).
        quiet: whether to show no progress bar.

    Returns:
        The facts.
    """
    nodes = [(one, held(one, allow_pickle)) for one in every(facts)]
    names = [[name for name in dict.fromkeys(told(one)) if name in tensors] for one, tensors in nodes]
    with Steps(sum(map(len, names)), quiet) as step:
        for (one, tensors), own in zip(nodes, names, strict=True):
            of_adapters = one["kind"] in ("adapter", "fusion")  # which begin with a deviation of their own
            found = {}
            for name in own:
                step(name)
                found[name] = _looked_at(tensors, name)
            one["odd"] = _odd(found, STD if of_adapters else facts.get("initial_deviation", STD), _alone(one))
    return facts


def held(facts: Mapping[str, Any], allow_pickle: bool = False) -> Mapping[str, Tensor]:
    """The tensors in the file that some facts tell of, each read when it is looked at, and not kept."""
    source: Source = facts["source"]
    if facts["kind"] == "model":
        return hf.open_checkpoint(source, allow_pickle, kept=False)
    names: tuple[str, ...] = (embedding_files.WEIGHTS,)
    if facts["kind"] != "embedding":
        kind = "adapter" if facts["format"] == "peft" else facts["kind"]  # a head lies in the same file there
        (names,) = (one.weights for one in FILES if (one.kind, one.format) == (kind, facts["format"]))
    path = next((path for name in names if (path := find(source, name)) is not None), None)
    return {} if path is None else read_tensors(path, allow_pickle, mapped=True, kept=False)


class _Seen(NamedTuple):
    """A tensor that was looked at: its shape, its values, and whether it is the value that a fusion begins with."""

    shape: tuple[int, ...]
    values: Values
    identity: bool


def _looked_at(tensors: Mapping[str, Tensor], name: str) -> _Seen | None:
    """None where it holds no numbers with a fraction that can be read: shapes and dtypes are told elsewhere."""
    if wrong_dtype(tensors[name]) is not None:  # a look at what is mapped reads nothing
        return None
    return _Seen(tuple(like(tensors, name).shape), values_of(pieces(tensors, name)), _is_identity(tensors, name))


def _is_identity(tensors: Mapping[str, Tensor], name: str) -> bool:
    """Whether it is the identity with 1e-6 beside the diagonal."""
    shape = like(tensors, name).shape
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        return False
    tensor = tensors[name]
    return float(tensor[0, 0]) == 1 and torch.equal(tensor, torch.full_like(tensor, 1e-6).fill_diagonal_(1.0))


def _alone(facts: Mapping[str, Any]) -> frozenset[str]:
    """The names of tensors that may be judged without a bias: a model's own."""
    if facts["kind"] != "model":
        return frozenset()
    return frozenset(told(facts)).difference(*map(told, within(facts)))


def _odd(found: Mapping[str, _Seen | None], deviation: float, alone: Container[str]) -> list[dict[str, Any]]:
    """The odd ones, in order."""
    told_of = []
    for name, seen in found.items():
        if seen is None:
            continue
        values = seen.values
        kinds = {"NaN": values.nan, "Inf": values.inf}
        if values.all(0) and not _rightly_zero(name, seen.shape):
            kinds["all zero"] = values.count
        elif _untrained(name, seen, found, deviation, alone):
            kinds["untrained"] = values.count
        told_of += [{"tensor": name, "what": what, "count": count} for what, count in kinds.items() if count]
    return told_of


def _rightly_zero(name: str, shape: tuple[int, ...]) -> bool:
    return name.endswith("final_logits_bias") or (name.endswith("token_type_embeddings.weight") and shape[0] == 1)


def _untrained(
    name: str, seen: _Seen, found: Mapping[str, _Seen | None], deviation: float, alone: Container[str]
) -> bool:
    """Whether values are as initialisation leaves them; see `add_odd`."""
    stem, _, last = name.rpartition(".")
    if last in ("lora_B", "ia3_l") and seen.values.all(1):
        return True
    if last not in SHIFTS:
        return False
    shift = f"{stem}.{SHIFTS[last]}".removeprefix(".")
    if shift in found:
        bias = found[shift]
        still = bias is not None and bias.values.all(0)
        return still and (_looks_new(seen.values, deviation) if len(seen.shape) > 1 else seen.values.all(1))
    if seen.identity and ".adapter_fusion_layer." in name:
        return True
    return name in alone and seen.values.count >= MANY and _looks_new(seen.values, deviation)


def _looks_new(values: Values, deviation: float) -> bool:
    """Whether they may have been drawn from a normal distribution about zero: see `add_odd`."""
    if values.nan or values.inf or not values.count or not deviation > 0:
        return False
    mean = abs(values.mean) <= SIGMAS * deviation / math.sqrt(values.count)
    wide = abs(values.deviation / deviation - 1) <= SIGMAS / math.sqrt(2 * values.count)
    return mean and wide and abs(values.kurtosis - 3) <= SIGMAS * math.sqrt(24 / values.count)
