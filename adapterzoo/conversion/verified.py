"""Does what was written compute what its source does? Both run on the same inputs, with each adapter and head."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapterzoo import zoo
from adapterzoo.conversion.checkpoint import Checkpoint
from adapterzoo.conversion.drawing import drawn_inputs
from adapterzoo.conversion.verification import answers, compare
from adapterzoo.core.compose import Fuse, Setup
from adapterzoo.pretrained import STATE

EXACT = 1e-5
"""How far numbers may be apart, relative to the largest of an output, where no weight was rounded."""


class Check(NamedTuple):
    """One output of both.

    Attributes:
        name: the output's name; before it, what was active.
        largest: the largest absolute difference; infinite where shapes differ or a number is NaN.
        scale: the largest absolute number of the source's.
        tolerance: the difference that is none.
    """

    name: str
    largest: float
    scale: float
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether there is no difference."""
        return self.largest <= self.tolerance


class Verified(NamedTuple):
    """What came of it.

    Attributes:
        checks: by output.
        only: outputs that one of the two alone has.
        rule: what the tolerance follows from, in words.
    """

    checks: list[Check]
    only: list[str]
    rule: str

    def demand(self, what: str) -> None:
        """Make sure that both are the same.

        Raises:
            ValueError: they are not, or have nothing in common; the outputs that differ are named.
        """
        if not self.checks:
            raise ValueError(f"{what} cannot be verified: the outputs have no name in common: {', '.join(self.only)}")
        apart = [check for check in self.checks if not check.same]
        if apart:
            told = "\n  ".join(
                f"{check.name}: differs by {check.largest:.3g} (of numbers up to {check.scale:.3g}), more than "
                f"{check.tolerance:.3g}"
                for check in apart
            )
            raise ValueError(f"{what} does not compute what its source does, so it is not written:\n  {told}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told = [check._asdict() for check in self.checks]
        finite = [{**one, "largest": one["largest"] if math.isfinite(one["largest"]) else None} for one in told]
        return {
            "same": bool(self.checks) and all(check.same for check in self.checks),
            "rule": self.rule,
            "outputs": finite,
            "only_in_one": self.only,
        }


class Tolerance(NamedTuple):
    """How far outputs may be apart.

    Attributes:
        share: of an output's largest number.
        absolute: in place of that, if it is not None.
        rule: what it follows from, in words.
    """

    share: float
    absolute: float | None
    rule: str

    def of(self, scale: float) -> float:
        """For an output with such a largest number."""
        return self.share * scale if self.absolute is None else self.absolute


def tolerance_for(model: Any, dtype: torch.dtype | None, absolute: float | None = None) -> Tolerance:
    """The tolerance of a model whose weights were rounded to a dtype, if they were.

    Rounding moves each weight by half of the dtype's epsilon at most, relative to it; each layer adds as much to what
    came before, and so does the head.

    Args:
        model: the model.
        dtype: what its weights were rounded to; None if they were not.
        absolute: what the caller wants in place of it.
    """
    if absolute is not None:
        return Tolerance(0.0, absolute, f"asked for: {absolute:g}")
    if dtype is None:
        return Tolerance(EXACT, None, f"{EXACT:g} of an output's largest number: no weight was rounded")
    layers = sum(stack.layers for stack in model.base.config.stacks().values())
    epsilon = torch.finfo(dtype).eps
    share = max(EXACT, epsilon * (layers + 1))
    name = str(dtype).removeprefix("torch.")
    why = f"{name}'s {epsilon:.3g} × {layers + 1}" if share > EXACT else f"{name} adds less"
    return Tolerance(share, None, f"{share:.3g} of an output's largest number: {why}")


class Run(NamedTuple):
    """What is active while both run: of the one and of the other a setup of adapters, and the head.

    Attributes:
        label: what to call it; "" if there is but one.
        setups: of each model the adapters.
        heads: of each model the head, where it has named ones.
    """

    label: str
    setups: tuple[Setup, Setup]
    heads: tuple[str | None, str | None]


def model_of(checkpoint: Checkpoint) -> Any:
    """A checkpoint's model of its class; with flexible heads, where such lie beside it and there is no fixed one."""
    beside = STATE in checkpoint.config.extra and checkpoint.model.static is None
    name = f"{checkpoint.architecture.name}AdapterModel" if beside else checkpoint.class_name
    kind: Any = zoo.CLASSES[name]
    return kind.from_pretrained(checkpoint.source, config=copy.deepcopy(checkpoint.config))


def rounded_to(tensors: Mapping[str, Tensor], dtype: str | None) -> torch.dtype | None:
    """The dtype that tensors are rounded to, if that is less than some of them hold."""
    if dtype is None:
        return None
    asked: torch.dtype = getattr(torch, dtype)
    own = {tensors[name].dtype for name in tensors if tensors[name].is_floating_point()}
    return asked if any(torch.promote_types(asked, one) != asked for one in own) else None


def verified(first: Any, second: Any, tolerance: Tolerance, runs: Iterable[Run]) -> Verified:
    """Compare two models.

    Args:
        first: what was converted.
        second: what came of it.
        tolerance: how far they may be apart.
        runs: what shall be active.
    """
    for model in (first, second):
        if model.adapters.merged:
            model.reset_adapter()
        if len(model.embeddings):
            model.set_active_embeddings("default")
    checks, only = list[Check](), list[str]()
    for run in runs:
        for model, setup, name in zip((first, second), run.setups, run.heads, strict=True):
            model.set_active_adapters(setup)
            if name is not None:
                model.active_head = name
        inputs = drawn_inputs(first)
        verdict = compare(answers(first, inputs), answers(second, inputs), inputs["attention_mask"], 0.0)
        stem = f"{run.label}: " if run.label else ""
        checks += [Check(stem + gap.name, gap.largest, gap.scale, tolerance.of(gap.scale)) for gap in verdict.gaps]
        only += [stem + name for name in verdict.only]
    return Verified(checks, only, tolerance.rule)


def runs_of(first: Any, second: Any, head: str | None = None) -> Iterator[Run]:
    """Both models as they are, and with each adapter and fusion that they have in common.

    Args:
        first, second: the models.
        head: of flexible heads the one that is the other model's fixed one.
    """
    pairs = _heads(first, second, head)
    for pair in pairs:
        yield Run(f"head {pair[0]}" if len(pairs) > 1 else "", (None, None), pair)
    for name in first.adapters:
        if name in second.adapters:
            yield Run(f"adapter {name}", (name, name), (name, name) if (name, name) in pairs else pairs[0])
    for name, fusion in first.fusions.items():
        if name in second.fusions:
            block = Fuse(*fusion.names, name=name)
            yield Run(f"fusion {name}", (block, block), pairs[0])


def _heads(first: Any, second: Any, head: str | None) -> list[tuple[str | None, str | None]]:
    """The heads of both that are the same head. None is a fixed head, or no head."""
    mine, yours = (list(getattr(model, "heads", ())) for model in (first, second))
    if mine and yours:
        return [(name, name) for name in mine if name in yours] or [(None, None)]
    if mine:
        return [(head or mine[0], None)]
    return [(None, (head if head in yours else second.active_head) if yours else None)]
