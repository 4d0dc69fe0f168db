"""How a checkpoint fits a model: which tensor is which of ours, what is missing, what has no place. Reads no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from adapterzoo.archs.base import StaticHead
from adapterzoo.core.misfit import wrong_dtype
from adapterzoo.core.registry import listing
from adapterzoo.formats import hf

SILENT = ("head.final_logits_bias",)  # zero where a checkpoint does not hold it, and nobody need be told


@dataclass
class Fit:
    """What became of a checkpoint's tensors. Our names begin with "base." or "head.".

    Attributes:
        wanted: the model's own tensors by our name; those on the meta device have a shape and nothing else.
        sources: for each of ours that the checkpoint holds, the foreign names of its parts, in order.
        missing: ours that it does not hold.
        homeless: parts of tensors that the tables know and this class does not have: a pooler where there is none.
        unexpected: foreign tensors that no table knows.
        unused: foreign tensors that are known and not needed.
        problems: why the checkpoint cannot be this model's, in words.
    """

    wanted: dict[str, Tensor]
    sources: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    homeless: dict[str, list[str | None]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def told(self) -> list[str]:
        """The missing tensors that somebody should know of."""
        return [name for name in self.missing if name not in SILENT]

    @property
    def left_over(self) -> list[str]:
        """The foreign names of everything that the class has no place for, in order."""
        parts = [part for parts in self.homeless.values() for part in parts if part]
        return sorted(self.unexpected + parts)


def fit(
    model: Any,
    target: tuple[nn.Module, StaticHead] | None,
    tensors: Mapping[str, Tensor],
    ignore_mismatched_sizes: bool = False,
    new: Callable[[str], bool] = lambda name: False,
) -> Fit:
    """Compare a checkpoint with a model.

    Args:
        model: the model; it may lie on the meta device.
        target: its head, and the table of the head's foreign names; None where there is none.
        tensors: the checkpoint; only names and shapes are looked at.
        ignore_mismatched_sizes: whether a head's tensors of other shapes are left out, not a problem.
        new: tells of a tensor of the network, by our name, whether a checkpoint may lack it.
    """
    head, table = (None, None) if target is None else target
    placed = hf.place(tensors, model.architecture, table)
    tied = {f"head.{name}" for name in getattr(head, "tied", ())}
    state = _state(model.base, head)
    twins = {f"base.{name}": f"base.{other}" for name, other in hf.twins(model.base).items()}
    for name, other in twins.items():  # a tensor of several names may come under any
        if name in placed.sources and other not in placed.sources:
            placed.sources[other] = placed.sources.pop(name)
    tied |= set(twins)
    wanted = {name: tensor for name, tensor in state.items() if name not in tied}
    found = Fit(wanted, unexpected=placed.unexpected, unused=placed.unused)
    for name, parts in placed.sources.items():
        if (
            name in wanted
            and ignore_mismatched_sizes
            and name.startswith("head.")
            and _misshapen(found, name, parts, tensors)
        ):
            found.homeless[name] = parts
        elif name in wanted:
            _check(found, name, parts, tensors)
        elif name in tied:  # the same tensor as one of the network's
            found.unused += [part for part in parts if part]
        else:
            found.homeless[name] = parts
    found.missing = [name for name in wanted if name not in placed.sources or name in found.homeless]
    found.problems += _missing_base(found, new)
    return found


def holders(model: Any, head: nn.Module | None) -> dict[str, nn.Module]:
    """The modules whose tensors our names tell, by what the names begin with."""
    return {"base": model.base, **({} if head is None else {"head": head})}


def _state(base: nn.Module, head: nn.Module | None) -> dict[str, Tensor]:
    state = {f"base.{name}": tensor for name, tensor in base.state_dict(keep_vars=True).items()}
    if head is not None:
        state |= {f"head.{name}": tensor for name, tensor in head.state_dict(keep_vars=True).items()}
    return state


def _check(found: Fit, name: str, parts: list[str | None], tensors: Mapping[str, Tensor]) -> None:
    """Note a tensor of ours that is there, whole and of the right shape; or what is wrong with it."""
    there = [part for part in parts if part is not None]
    if len(there) < len(parts):
        found.problems.append(f"only part of {name} is there: {listing(there)}")
        return
    wrong = _misshapen(found, name, parts, tensors)
    if not wrong:
        odd = {part: wrong_dtype(tensors[part], found.wanted[name].is_floating_point()) for part in there}
        found.problems += [f"{part} {why}" for part, why in odd.items() if why]
        found.sources[name] = there
        return
    needed = shape_text(_part_shape(found, name, parts))
    found.problems += [
        f"{part}: shape {shape_text(tensors[part].shape)}, but the model needs {needed}" for part in wrong
    ]


def _part_shape(found: Fit, name: str, parts: list[str | None]) -> tuple[int, ...]:
    whole = tuple(found.wanted[name].shape)
    return (whole[0] // len(parts), *whole[1:]) if whole else whole


def _misshapen(found: Fit, name: str, parts: list[str | None], tensors: Mapping[str, Tensor]) -> list[str]:
    """The parts that are there with a shape other than that of ours."""
    needed = _part_shape(found, name, parts)
    return [part for part in parts if part is not None and tuple(tensors[part].shape) != needed]


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape for people: 768×768."""
    return "×".join(map(str, shape)) or "scalar"


def _missing_base(found: Fit, new: Callable[[str], bool]) -> list[str]:
    """The network must be whole, but for what may be new, and for the pooler, which many checkpoints leave out."""
    network = [name for name in found.wanted if name.startswith("base.") and not new(name)]
    needed = [name for name in network if not name.startswith("base.pooler.")]
    lost = [name for name in found.missing if name in set(needed)]
    if lost and len(lost) == len(needed):
        return ["it holds none of the network's tensors: it is of another architecture, or has other names"]
    return [f"{name.removeprefix('base.')} is not there" for name in lost]
