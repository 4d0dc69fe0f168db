"""Sites: the named places of a network where an adapter may act, and what passes through them.

kind      sites                                          value                       what lives there
linear    attn.q attn.k attn.v attn.out cross.* mlp.*    y = Wx + b                  LoRA, DoRA, VeRA, (IA)³
kv        attn.kv cross.kv                               KV                          prefix tuning
join      attn.join cross.join mlp.join                  h, before the residual      bottlenecks, AdapterFusion
norm      attn.norm cross.norm mlp.norm embed.norm …     y = LayerNorm(x)            LayerNorm tuning
stream    layer.out embed unembed                        h                           ReFT, invertible adapters
lookup    token                                          the token embedding's rows  LoRA on embeddings
tokens    input                                          Tokens                      prompt tuning
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from adapterzoo.core.config import NetworkConfig, StackConfig

OUTSIDE = -1
"""The depth and the layer of sites that lie in no layer."""


class Site(NamedTuple):
    """One place in one layer, or before or after all layers of a stack.

    Attributes:
        stack: "encoder" or "decoder".
        depth: the layer's number within its stack; OUTSIDE in none.
        layer: the layer's number in the whole network (a decoder continues the encoder's count), as `leave_out` counts.
        name: "attn.q", "mlp.join", …
        kind: "linear", "kv", "join", "norm", "stream", "lookup" or "tokens": what is threaded through it.
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
        return f"{self.stack}.{self.name}" if self.depth == OUTSIDE else f"{self.stack}.{self.depth}.{self.name}"

    @property
    def slug(self) -> str:
        """The path as a module name: "encoder-0-attn-q"."""
        return self.path.replace(".", "-")


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
        sites += _outer_sites(stack, numbers, before=True)
        for index in range(numbers.layers):
            sites += _layer_sites(stack, numbers, index, below + index)
        sites += _outer_sites(stack, numbers, before=False)
        below += numbers.layers
    last = config.last
    return [*sites, Site(config.last_stack, OUTSIDE, OUTSIDE, "unembed", "stream", last.width, last.width, last.heads)]


def _outer_sites(stack: str, numbers: StackConfig, before: bool) -> Iterator[Site]:
    """The sites before a stack's first layer, or after its last."""

    def site(name: str, kind: str, d_in: int, d_out: int) -> Site:
        return Site(stack, OUTSIDE, OUTSIDE, name, kind, d_in, d_out, numbers.heads)

    if before:
        embedded = numbers.width if numbers.project_first else numbers.token_width  # before the last projection, if any
        yield site("token", "lookup", numbers.vocab, numbers.token_width)
        yield site("embed.norm", "norm", embedded, embedded)
        yield site("embed", "stream", embedded, embedded)
        yield site("input", "tokens", embedded, embedded)
    elif numbers.pre_norm:
        yield site("last.norm", "norm", numbers.width, numbers.width)


def _layer_sites(stack: str, numbers: StackConfig, index: int, layer: int) -> list[Site]:
    width, inner = numbers.width, numbers.inner

    def site(name: str, kind: str, d_in: int = width, d_out: int = width) -> Site:
        return Site(stack, index, layer, name, kind, d_in, d_out, numbers.heads)

    def block(name: str, *inside: Site) -> list[Site]:
        around = [site(f"{name}.join", "join"), site(f"{name}.norm", "norm")]
        return [around[1], *inside, around[0]] if numbers.pre_norm else [*inside, *around]

    sites = []
    for name in ("attn", "cross") if numbers.cross else ("attn",):
        linears = [site(f"{name}.{part}", "linear") for part in "qkv"]
        sites += block(name, *linears, site(f"{name}.kv", "kv"), site(f"{name}.out", "linear"))
    sites += block("mlp", site("mlp.up", "linear", d_out=inner), site("mlp.down", "linear", d_in=inner))
    return [*sites, site("layer.out", "stream")]
