"""A batch on its way through a stack's layers: run once below a layer, and in copies from there on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from adapterzoo.nn.attention import Batch, Memory, tiled
from adapterzoo.nn.layout import Layout
from adapterzoo.nn.mask import Mask


class Repeat(NamedTuple):
    """Where in a stack the batch is repeated, copy after copy. Layers below it see the batch once.

    Attributes:
        at: the number of the first layer that sees all copies; how many layers there are, if none does.
        times: how many copies.
        layout: how their tokens lie.
        mask: who may look at whom among them.
        memory: what their cross-attention looks at.
    """

    at: int
    times: int
    layout: Layout
    mask: Mask
    memory: Memory | None = None


@dataclass
class Climb:
    """What is carried from layer to layer.

    Attributes:
        x: (…, D) by token.
        embedded: (…, D), what went into the first layer.
        batch: what the layers are told.
        hidden: x after each layer, if it is kept.
        attentions, crosses: each layer's probabilities, if they are kept.
    """

    x: Tensor
    embedded: Tensor
    batch: Batch
    hidden: list[Tensor] = field(default_factory=list)
    attentions: list[Any] = field(default_factory=list)
    crosses: list[Any] = field(default_factory=list)

    def repeat(self, repeat: Repeat) -> None:
        """Go on with copies of the batch."""

        def copies(tensor: Any) -> Any:
            return None if tensor is None else tiled(tensor, repeat.times)

        self.x, self.embedded = copies(self.x), copies(self.embedded)
        self.hidden, self.attentions, self.crosses = (
            [copies(tensor) for tensor in kept] for kept in (self.hidden, self.attentions, self.crosses)
        )
        self.batch = self.batch._replace(layout=repeat.layout, mask=repeat.mask, memory=repeat.memory)
