"""The strategies by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from adapterzoo.adapter import Adapter
from adapterzoo.combining.elementwise import Elementwise, both, only_b_negative, roots
from adapterzoo.combining.factored import Factored, concatenated, decomposed
from adapterzoo.combining.mixing import Mix, dare_linear, dare_ties, magnitude_prune, ties, weighted_sum
from adapterzoo.combining.options import Options
from adapterzoo.core.registry import Registry
from adapterzoo.nn.transformer import Transformer


class Strategy(Protocol):
    """A way to make one adapter of several."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Options without which it cannot be."""

    @property
    def takes(self) -> tuple[str, ...]:
        """Other options that it looks at."""

    def __call__(
        self, parts: Mapping[str, Adapter], weights: Sequence[float], options: Options, network: Transformer
    ) -> Adapter:
        """The new adapter."""


STRATEGIES: Registry[Strategy] = Registry("combine strategy")
"""Ways to make one adapter of several. Those with `_svd` and `cat` are for LoRA."""

STRATEGIES.add("linear", Elementwise(weighted_sum, both))
STRATEGIES.add("lora_linear_only_negate_b", Elementwise(weighted_sum, only_b_negative, only_pairs=True))
STRATEGIES.add("lora_linear_sqrt", Elementwise(weighted_sum, roots, only_pairs=True))
STRATEGIES.add("lora_delta_w_svd", Factored(decomposed(weighted_sum), ("svd_rank",), ("svd_clamp",)))
STRATEGIES.add("svd", Factored(decomposed(weighted_sum), (), ("svd_rank", "svd_clamp")))
STRATEGIES.add("cat", Factored(concatenated, ranks_add=True))

_MIXTURES: dict[str, tuple[Mix, tuple[str, ...]]] = {
    "magnitude_prune": (magnitude_prune, ()),
    "ties": (ties, ("majority_sign_method",)),
    "dare_linear": (dare_linear, ("generator",)),
    "dare_ties": (dare_ties, ("majority_sign_method", "generator")),
}
for _name, (_mix, _takes) in _MIXTURES.items():
    STRATEGIES.add(_name, Elementwise(_mix, roots, ("density",), _takes))
    STRATEGIES.add(f"{_name}_svd", Factored(decomposed(_mix), ("density",), (*_takes, "svd_rank", "svd_clamp")))
