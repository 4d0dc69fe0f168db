"""Sites: the named places of a layer where an adapter may act, and what passes through them.

kind      sites                                          value                       what lives there
linear    attn.q attn.k attn.v attn.out cross.* mlp.*    y = Wx + b                  LoRA
kv        attn.kv cross.kv                               KV                          prefix tuning
join      attn.join cross.join mlp.join                  h, before the residual      bottlenecks
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from adapterzoo.core.config import NetworkConfig, StackConfig


class Site(NamedTuple):
    """One place in one layer.

    Attributes:
        stack: "encoder" or "decoder".
        depth: the layer's number within its stack.
        layer: the layer's number in the whole network (a decoder continues the encoder's count), as `leave_out` counts.
        name: "attn.q", "mlp.join", …
        kind: "linear", "kv" or "join": what is threaded through it.
        d_in: width of the input that a unit here may look at.
        d_out: width of the value.
        heads: attention heads of the stack.
    """

    stack: str
    depth: int
    layer: int
    name: str
    kind: str
    d_in: int
    d_out: int
    heads: int

    @property
    def path(self) -> str:
        """Where it lies in the network: "encoder.0.attn.q". For linear sites this names the weight, too."""
        return f"{self.stack}.{self.depth}.{self.name}"

    @property
    def slug(self) -> str:
        """The path as a module name: "encoder-0-attn-q"."""
        return self.path.replace(".", "-")


class Cut(NamedTuple):
    """A run of rows of a batch: which rows, which tokens these are, and the layout of just these."""

    rows: slice
    tokens: slice
    layout: LayoutLike


class LayoutLike(Protocol):
    """What a unit may ask of a batch's layout (`adapterzoo.nn.layout.Layout`)."""

    rows: int
    choices: int

    def cuts(self, sizes: tuple[int, ...] | None = None) -> list[Cut]:
        """The batch cut into runs of `sizes` rows; into the runs that have an adapter each if None."""

    def mean(self, tokens: Tensor) -> Tensor:
        """Mean over each row's tokens: (…, d) by token to (B, d)."""

    def spread(self, rows: Tensor) -> Tensor:
        """Each row's value at each of its tokens: (B, d) to (…, d) by token."""


class Ctx(NamedTuple):
    """What a unit may look at but not change.

    Attributes:
        x: linear: the projection's input; kv: the attention block's input.
        weight: linear: gives the frozen weight (d_out, d_in) and bias, as views.
        residual: join: the other side of the addition.
        norm: join: the LayerNorm that follows the addition, if one does.
        layout: how rows lie in the tensors.
        once: what each adapter computed once for this forward, by the module that computes it.
    """

    layout: LayoutLike
    once: Mapping[nn.Module, Any]
    x: Tensor | None = None
    weight: Callable[[], tuple[Tensor, Tensor]] | None = None
    residual: Tensor | None = None
    norm: nn.Module | None = None

    def cut(self, cut: Cut) -> Ctx:
        """The same for a run of rows."""
        return self._replace(
            layout=cut.layout,
            x=None if self.x is None else self.x[cut.tokens],
            residual=None if self.residual is None else self.residual[cut.tokens],
        )


class KV(NamedTuple):
    """Keys and values of an attention block, prefix positions first.

    Attributes:
        k, v: (B, H, P + S, E).
        prefix: P, how many prefix positions there are.
        valid: (B, P), False where a shorter prefix was padded; None where all P are real.
    """

    k: Tensor
    v: Tensor
    prefix: int = 0
    valid: Tensor | None = None


class Final(NamedTuple):
    """A join's value that already is the block's output: neither residual nor LayerNorm follow (AdapterPlus).

    Attributes:
        value: (…, D) by token.
        where: (…, 1) by token, True where it is so; None where it is so throughout.
    """

    value: Tensor
    where: Tensor | None = None


Unit = Callable[[Any, Ctx], Any]
"""`value = unit(value, ctx)`: the one signature that compositions thread and methods implement."""


class Run(NamedTuple):
    """One forward's use of a plan: each layer's units, and what the adapters computed once for this forward."""

    tables: Mapping[tuple[str, int], Mapping[str, Unit]]
    once: Mapping[nn.Module, Any]


BARE = Run({}, {})
"""The run of a network in which nothing is active."""


def existing_layers(what: str, layers: Iterable[int], config: NetworkConfig) -> frozenset[int]:
    """Numbers of layers, all of which the network has.

    Raises:
        ValueError: one is none.
    """
    given = list(layers)
    wrong = [layer for layer in given if type(layer) is not int or not 0 <= layer < config.layers]
    if wrong:
        names = ", ".join(map(repr, wrong))
        raise ValueError(f"{what} names {names}, but the network's layers are 0 to {config.layers - 1}")
    return frozenset(given)


def sites_of(config: NetworkConfig) -> list[Site]:
    """Every site of a network, in the order in which a forward passes them."""
    sites: list[Site] = []
    below = 0
    for stack, numbers in config.stacks().items():
        for index in range(numbers.layers):
            sites += _layer_sites(stack, numbers, index, below + index)
        below += numbers.layers
    return sites


def _layer_sites(stack: str, numbers: StackConfig, index: int, layer: int) -> list[Site]:
    width, inner = numbers.width, numbers.inner

    def site(name: str, kind: str, d_in: int = width, d_out: int = width) -> Site:
        return Site(stack, index, layer, name, kind, d_in, d_out, numbers.heads)

    sites = []
    for block in ("attn", "cross") if numbers.cross else ("attn",):
        sites += [site(f"{block}.{part}", "linear") for part in "qkv"]
        sites += [site(f"{block}.kv", "kv"), site(f"{block}.out", "linear"), site(f"{block}.join", "join")]
    sites += [
        site("mlp.up", "linear", d_out=inner),
        site("mlp.down", "linear", d_in=inner),
        site("mlp.join", "join"),
    ]
    return sites
