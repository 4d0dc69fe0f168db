"""What passes through sites in a forward, and what a unit may look at.

Shapes: B rows, T queries or tokens, S keys, P prefix positions, H heads, E head width, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from adapterzoo.core.sites import OUTSIDE, Site


class Cut(NamedTuple):
    """A part of a batch: which rows, which tokens these are, and the layout of just these.

    A run of rows has all tokens of these; a span of all rows has the tokens of some columns of the grid.
    """

    rows: slice
    tokens: Any
    layout: LayoutLike
    columns: slice = slice(None)


class Spans(NamedTuple):
    """A batch cut into runs of columns: the parts, and what brings their tokens, joined, into the batch's order.

    Attributes:
        cuts: the parts.
        order: (N,) for packed tokens; None on the grid, where parts are joined along the columns.
    """

    cuts: list[Cut]
    order: Tensor | None


class LayoutLike(Protocol):
    """What a unit may ask of a batch's layout (`adapterzoo.nn.layout.Layout`)."""

    rows: int
    length: int
    choices: int
    kept: dict[Any, Any]

    @property
    def packed(self) -> bool:
        """Whether tensors by token leave padding out."""

    def cuts(self, sizes: tuple[int, ...] | None = None) -> list[Cut]:
        """The batch cut into runs of `sizes` rows; into the runs that have an adapter each if None."""

    def spans(self, sizes: tuple[int, ...]) -> Spans:
        """The batch cut into runs of `sizes` columns."""

    def tokens(self, grid: Tensor) -> Tensor:
        """(B, T, …) to by token."""

    def grid(self, tokens: Tensor) -> Tensor:
        """By token to (B, T, …), zeros at padding."""

    def place(self, device: torch.device) -> Tensor:
        """Each token's number in its row, padding not counted, (…, 1) by token."""

    def place_from_end(self, device: torch.device) -> Tensor:
        """The same, counted from the row's last token."""

    def mean(self, tokens: Tensor) -> Tensor:
        """Mean over each row's tokens: (…, d) by token to (B, d)."""

    def spread(self, rows: Tensor) -> Tensor:
        """Each row's value at each of its tokens: (B, d) to (…, d) by token."""


class Note(NamedTuple):
    """Something that a unit tells beside its value: a gate's or a fusion's scores.

    Attributes:
        what: "gate" or "fusion".
        name: the adapter's or the fusion's name.
        site: the place.
        value: by row, or on the grid, zeros at padding.
    """

    what: str
    name: str
    site: Site
    value: Tensor


class BlockNorm:
    """The LayerNorm after a block as what is active there leaves it, for the tokens of a part of the batch.

    What is active there knows the whole batch alone. So the part is put in its place in a batch of anything, and taken
    out again; tokens do not meet there.

    Args:
        whole: the same for the whole batch.
        cuts: the parts in parts that x is of, each with the size by token of what it was cut from.
    """

    def __init__(self, whole: Callable[[Tensor], Tensor], cuts: tuple[tuple[Sequence[int], Cut], ...] = ()) -> None:
        self.whole, self.cuts = whole, cuts

    def __call__(self, x: Tensor) -> Tensor:
        """(…, D) to (…, D)."""
        for size, cut in reversed(self.cuts):
            # No zeros: their variance is none, and half precision's gradients of a LayerNorm then are NaN.
            anything = torch.linspace(-1, 1, x.size(-1), dtype=x.dtype, device=x.device)
            wide = anything.expand(*size, -1).clone()
            wide[cut.tokens] = x
            x = wide
        y = self.whole(x)
        for _, cut in self.cuts:
            y = y[cut.tokens]
        return y

    def part(self, size: Sequence[int], cut: Cut) -> BlockNorm:
        """The same for a part of the tokens."""
        return BlockNorm(self.whole, (*self.cuts, (size, cut)))


class Ctx(NamedTuple):
    """What a unit may look at but not change, but for a value that it is told is its own.

    Attributes:
        layout: how rows lie in the tensors.
        run: the forward that this is part of.
        x: linear: the projection's input; kv: the attention block's input; norm: its input; lookup: the ids.
        weight: linear, lookup: gives the frozen weight (d_out, d_in) and bias, as views; norm: gain and bias (D).
        residual: join: the other side of the addition.
        norm: join: the LayerNorm that follows the addition, if one does; norm: the LayerNorm itself.
        who: whose unit is at work, and where; known where scores are to be told.
        own: linear: whether the value may be written to: it was made for the unit alone, and nothing is differentiated.
    """

    layout: LayoutLike
    run: Run
    x: Tensor | None = None
    weight: Callable[[], tuple[Tensor, Tensor]] | None = None
    residual: Tensor | None = None
    norm: Callable[[Tensor], Tensor] | None = None
    who: tuple[str, Site] | None = None
    own: bool = False

    @property
    def once(self) -> Mapping[nn.Module, Any]:
        """What each adapter computed once for this forward, by the module that computes it."""
        return self.run.once

    def note(self, what: str, value: Tensor, by_token: bool = False) -> None:
        """Tell scores by row, or by token, if they were asked for."""
        if self.who is not None and self.run.notes is not None:
            value = value.detach()
            self.run.notes.append(Note(what, *self.who, self.layout.grid(value) if by_token else value))

    def cut(self, cut: Cut) -> Ctx:
        """The same for a part of the batch."""
        norm = self.norm
        if isinstance(norm, BlockNorm) and self.residual is not None:
            norm = norm.part(self.residual.shape[:-1], cut)
        return self._replace(
            layout=cut.layout,
            x=None if self.x is None else self.x[cut.tokens],
            residual=None if self.residual is None else self.residual[cut.tokens],
            norm=norm,
        )


class KV(NamedTuple):
    """Keys and values of an attention block, prefix positions first.

    Attributes:
        k, v: (B, H, P + S, E).
        prefix: P, how many prefix positions there are.
        valid: (B, 1, P), or (B, T, P) for each query: False at prefix positions that are not for it, such as those with
            which a shorter prefix was padded; None where all P are for all.
    """

    k: Tensor
    v: Tensor
    prefix: int = 0
    valid: Tensor | None = None


class KVPart(NamedTuple):
    """Keys and values of some rows of a batch.

    Attributes:
        runs: the numbers of the runs that the rows are; () for all rows.
        rows: where they are, a slice or an index.
        kv: their keys and values.
    """

    runs: tuple[int, ...]
    rows: Any
    kv: KV


class Final(NamedTuple):
    """A join's value that already is the block's output: neither residual nor LayerNorm follow (AdapterPlus).

    Attributes:
        value: (…, D) by token.
        where: (…, 1) by token, True where it is so; None where it is so throughout.
    """

    value: Tensor
    where: Tensor | None = None


class Branch(NamedTuple):
    """What a unit gives AdapterFusion instead of its value, all by token (…, D).

    Attributes:
        update: computes what it adds.
        residual: what it adds that to.
        before: the query of a fusion that reads what enters the place.
        after: the query of one that reads what the unit reads.
        finish: makes the place's value of the fused one.
    """

    update: Callable[[], Tensor]
    residual: Tensor
    before: Tensor
    after: Tensor
    finish: Callable[[Tensor], Any]


Unit = Callable[[Any, Ctx], Any]
"""`value = unit(value, ctx)`: the one signature that compositions thread and methods implement."""


class Told:
    """A unit that is told other things than its site says. What it offers beside its call is offered, too.

    Args:
        unit: the unit.
        changed: what it is told, from what its site says.
    """

    def __init__(self, unit: Unit, changed: Callable[[Ctx], Ctx]) -> None:
        self.unit, self.changed = unit, changed

    def __call__(self, value: Any, ctx: Ctx) -> Any:
        """The unit's value."""
        return self.unit(value, self.changed(ctx))

    def __getattr__(self, ability: str) -> Any:
        if ability == "unit":  # of a copy that has nothing yet
            raise AttributeError(ability)
        found = getattr(self.unit, ability)
        return (lambda value, ctx: found(value, self.changed(ctx))) if ability == "branch" else found


class Tokens(NamedTuple):
    """What goes into a stack's first layer, on the grid. Shapes: B rows, T positions, D width.

    Attributes:
        x: (B, T, D).
        mask: (B, T), False at padding; None where there is none.
        own: (B, T), True at the positions that the caller gave, padding included; each row has as many.
    """

    x: Tensor
    mask: Tensor | None
    own: Tensor


class Run(NamedTuple):
    """One forward's use of a plan.

    Attributes:
        tables: each layer's units by site; those of sites in no layer under the depth OUTSIDE.
        once: what the adapters computed once for this forward.
        notes: where units tell scores, if these were asked for.
    """

    tables: Mapping[tuple[str, int], Mapping[str, Unit]]
    once: Mapping[nn.Module, Any]
    notes: list[Note] | None = None

    def outside(self, stack: str) -> Mapping[str, Unit]:
        """The units of a stack's sites that lie in no layer."""
        return self.tables.get((stack, OUTSIDE), NOTHING)


NOTHING: Mapping[str, Unit] = {}
"""The units where nothing is active."""

BARE = Run({}, {})
"""The run of a network in which nothing is active."""
