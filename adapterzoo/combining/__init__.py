"""Floor 3: one adapter or head made of several, in the space of their weights."""

from adapterzoo.combining.adapters import combine_adapters
from adapterzoo.combining.elementwise import combine_states
from adapterzoo.combining.options import Options, weights_of
from adapterzoo.combining.strategies import STRATEGIES

__all__ = ["STRATEGIES", "Options", "combine_adapters", "combine_states", "weights_of"]
