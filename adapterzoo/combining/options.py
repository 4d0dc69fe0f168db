"""What a combination is told beside its parts: weights, and the strategies' options."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch

from adapterzoo.core.fields import fits

SIGN_METHODS = ("total", "frequency")


@dataclass(frozen=True)
class Options:
    """Options of strategies; None where one is not given.

    Attributes:
        density: the share of values that pruning leaves, above 0 and at most 1.
        majority_sign_method: how TIES elects a value's sign: by the sum of the values ("total", also if None) or of
            their signs ("frequency").
        generator: what DARE draws by; PyTorch's own if None.
        svd_rank: rank of what a singular value decomposition leaves.
        svd_clamp: the quantile at which its factors are cut off.
    """

    density: float | None = None
    majority_sign_method: str | None = None
    generator: torch.Generator | None = None
    svd_rank: int | None = None
    svd_clamp: float | None = None

    def check(self, strategy: str, needs: tuple[str, ...], takes: tuple[str, ...]) -> None:
        """Check the options for a strategy.

        Args:
            strategy: its name.
            needs: options without which it cannot be.
            takes: others that it looks at.

        Raises:
            ValueError: one is missing, or is nothing to it, or has a value that it cannot have; all are told.
        """
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        wrong = [f"it takes no {name}" for name in given if name not in needs + takes]
        wrong += [f"it needs {name}" for name in needs if name not in given]
        for name in ("density", "svd_clamp"):
            value = getattr(self, name)
            if value is not None and not (fits(value, float) and 0 < value <= 1):
                wrong.append(f"{name} must be above 0 and at most 1, not {value!r}")
        if self.svd_rank is not None and not (fits(self.svd_rank, int) and self.svd_rank > 0):
            wrong.append(f"svd_rank must be a whole number above 0, not {self.svd_rank!r}")
        if self.majority_sign_method not in (None, *SIGN_METHODS):
            known = " or ".join(map(repr, SIGN_METHODS))
            wrong.append(f"majority_sign_method must be {known}, not {self.majority_sign_method!r}")
        if wrong:
            raise ValueError(f"combine_strategy {strategy!r}: " + "; ".join(wrong))


def weights_of(
    kind: str, which: str | Sequence[str] | Mapping[str, float], weights: Sequence[float] | None, normalize: bool
) -> dict[str, float]:
    """The parts' names with their weights.

    Args:
        kind: what the parts are, for messages.
        which: the names, or names with weights.
        weights: a weight for each; equal ones, which add up to 1, if there are none.
        normalize: whether to divide given weights by their sum.

    Raises:
        ValueError: there are none, a name comes twice, or weights are not one number each or cannot be normalised.
    """
    if isinstance(which, Mapping) and weights is not None:
        raise ValueError(f"give weights in {kind}_list or by weights=, not both")
    names = [which] if isinstance(which, str) else list(which)
    if not names:
        raise ValueError(f"name at least one {kind} to average")
    if len(set(names)) < len(names):
        raise ValueError(f"{kind}_list names one twice: {names}")
    if isinstance(which, Mapping):
        weights = list(which.values())
    if weights is None:
        return dict.fromkeys(names, 1 / len(names))
    given = list(weights)
    if len(given) != len(names):
        raise ValueError(f"{kind}s to average: {len(names)}, but weights: {len(given)}")
    if not all(fits(weight, float) for weight in given):
        raise ValueError(f"weights must be numbers, not {given}")
    if not normalize:
        return dict(zip(names, given, strict=True))
    total = math.fsum(given)
    if not total:
        raise ValueError(f"weights that add up to 0 cannot be normalised: {given}; normalize_weights=False takes them")
    return {name: weight / total for name, weight in zip(names, given, strict=True)}
