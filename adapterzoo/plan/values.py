"""Values cut into the parts that compositions give to their children, and joined again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.core.run import KV, Ctx, Cut, Final, Spans, Tokens


def take(value: Any, cut: Cut) -> Any:
    """A part of a value: keys, values and what goes into a stack lie by row, everything else by token."""
    if isinstance(value, KV):
        valid = None if value.valid is None else value.valid[cut.rows]
        return KV(value.k[cut.rows], value.v[cut.rows], value.prefix, valid)
    if isinstance(value, Tokens):
        mask = None if value.mask is None else value.mask[cut.rows]
        return Tokens(value.x[cut.rows], mask, value.own[cut.rows])
    if isinstance(value, Final):
        return Final(value.value[cut.tokens], None if value.where is None else value.where[cut.tokens])
    return value[cut.tokens]


def take_queries(value: KV, cut: Cut) -> KV:
    """The same keys and values, as the queries in some columns see them."""
    if value.valid is None or value.valid.size(1) == 1:
        return value
    return value._replace(valid=value.valid[:, cut.columns])


def apart(value: Any, lent: Callable[[Tensor], bool]) -> Any:
    """The value with copies of those of its tensors that lie in memory that was but lent."""
    if isinstance(value, Tensor):
        return value.clone() if lent(value) else value
    return type(value)(*(apart(part, lent) if isinstance(part, Tensor) else part for part in value))


def join(values: list[Any]) -> Any:
    """Values of consecutive rows as one."""
    if not values:
        raise ValueError("the batch has no rows")
    if len(values) == 1:
        return values[0]
    if isinstance(values[0], KV):
        return _join_kv(values)
    if isinstance(values[0], Tokens):
        return _join_tokens(values)
    return _joined(values, 0, None)


def join_spans(values: list[Any], spans: Spans) -> Any:
    """Values by token of consecutive columns as one."""
    return _joined(values, 1 if spans.order is None else 0, spans.order)


def _joined(values: list[Tensor | Final], dim: int, order: Tensor | None) -> Tensor | Final:
    """Values by token along a dimension, then in an order."""

    def together(tensors: list[Tensor]) -> Tensor:
        whole = torch.cat(tensors, dim)
        return whole if order is None else whole.index_select(0, order)

    plain = [value.value if isinstance(value, Final) else value for value in values]
    if not any(isinstance(value, Final) for value in values):
        return together(plain)
    if all(isinstance(value, Final) and value.where is None for value in values):
        return Final(together(plain))
    return Final(together(plain), together([final_where(value) for value in values]))


def final_where(value: Tensor | Final) -> Tensor:
    """Where a join's value is the block's output already, (…, 1) by token."""
    if isinstance(value, Final):
        return torch.ones_like(value.value[..., :1], dtype=torch.bool) if value.where is None else value.where
    return torch.zeros_like(value[..., :1], dtype=torch.bool)


def finished(value: Tensor | Final, ctx: Ctx) -> Tensor:
    """What a block puts out: a join's value with the residual and the LayerNorm that follow, where they do."""
    if isinstance(value, Final) and value.where is None:
        return value.value
    assert ctx.residual is not None
    plain = ctx.residual + (value.value if isinstance(value, Final) else value)
    plain = plain if ctx.norm is None else ctx.norm(plain)
    if not isinstance(value, Final) or value.where is None:
        return plain
    return torch.where(value.where, value.value, plain)


def _join_kv(values: list[KV]) -> KV:
    prefix = max(value.prefix for value in values)
    if all(value.prefix == prefix and value.valid is None for value in values):
        return KV(torch.cat([v.k for v in values]), torch.cat([v.v for v in values]), prefix)
    queries = max(1 if value.valid is None else value.valid.size(1) for value in values)
    wide = [widened(value, prefix, queries) for value in values]
    k, v, valid = (torch.cat(tensors) for tensors in zip(*wide, strict=True))
    return KV(k, v, prefix, valid)


def replaced(whole: Any, new: list[tuple[Any, Any]], own: bool) -> Any:
    """A value with some of its parts replaced: cheaper than to join what is new with the rest.

    Args:
        whole: the value, a tensor by token, or keys and values.
        new: the parts, each with its place: rows of keys and values, else rows or tokens.
        own: whether the value may be written to.
    """
    if isinstance(whole, KV):
        return _replaced_kv(whole, new)
    return _put(whole, new, not own)


def _replaced_kv(whole: KV, new: list[tuple[Any, KV]]) -> KV:
    """What was put before keys and values ends where these begin: all lie at the right."""
    prefix = max(whole.prefix, *(value.prefix for _, value in new))
    room = prefix - whole.prefix
    k, v = (F.pad(tensor, (0, 0, room, 0)) if room else tensor for tensor in (whole.k, whole.v))
    keys, values = [(place, value.k) for place, value in new], [(place, value.v) for place, value in new]
    told = [value.valid for _, value in new if value.valid is not None]
    if not room and whole.valid is None and not told:
        return KV(_put(k, keys), _put(v, values), prefix)
    queries = max(1 if valid is None else valid.size(1) for valid in (whole.valid, *told))
    seen = F.pad(real(whole).expand(-1, queries, -1), (room, 0), value=False)
    marks = [(place, real(value).expand(-1, queries, -1)) for place, value in new]
    return KV(_put(k, keys, not room, -2), _put(v, values, not room, -2), prefix, _put(seen, marks, not room))


def _put(whole: Tensor, new: list[tuple[Any, Tensor]], copy: bool = True, dim: int = -1) -> Tensor:
    """A tensor with some rows replaced; new rows that are shorter along `dim` lie at its end.

    Args:
        whole: the tensor.
        new: rows and their places.
        copy: whether `whole` is somebody else's.
        dim: the dimension.
    """
    dtype = whole.dtype
    for _, value in new:
        dtype = torch.promote_types(dtype, value.dtype)
    out = whole.to(dtype, copy=copy)
    for place, value in new:
        out.narrow(dim, out.size(dim) - value.size(dim), value.size(dim))[place] = value
    return out


def widened(value: KV, prefix: int, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values with room for a prefix of `prefix` positions, and which of these are for which query."""
    gap, valid = prefix - value.prefix, real(value).expand(-1, queries, -1)
    return F.pad(value.k, (0, 0, gap, 0)), F.pad(value.v, (0, 0, gap, 0)), F.pad(valid, (gap, 0), value=False)


def real(value: KV) -> Tensor:
    """Which prefix positions are for which query, (B, 1 or T, P)."""
    if value.valid is not None:
        return value.valid
    return torch.ones(value.k.size(0), 1, value.prefix, dtype=torch.bool, device=value.k.device)


def _join_tokens(values: list[Tokens]) -> Tokens:
    """Rows of different lengths are padded on the right."""
    length = max(value.x.size(1) for value in values)
    plain = all(value.mask is None and value.x.size(1) == length for value in values)
    x, mask, own = (torch.cat(parts) for parts in zip(*(lengthened(value, length) for value in values), strict=True))
    return Tokens(x, None if plain else mask, own)


def lengthened(value: Tokens, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """What goes into a stack, its mask and which positions the caller gave, padded on the right to `length`."""
    gap = length - value.x.size(1)
    mask = torch.ones_like(value.own) if value.mask is None else value.mask
    return F.pad(value.x, (0, 0, 0, gap)), F.pad(mask, (0, gap), value=False), F.pad(value.own, (0, gap), value=False)


def split_kv(value: KV, parts: list[KV], spans: Spans) -> KV:
    """Keys and values whose new prefixes are each for the queries of one span alone.

    Args:
        value: the keys and values before.
        parts: what they became for each span, its prefix put before all others.
        spans: the spans of the queries.
    """
    length = sum(cut.columns.stop - cut.columns.start for cut in spans.cuts)
    keys, values, valid = [], [], []
    for part, cut in zip(parts, spans.cuts, strict=True):
        new, columns = part.prefix - value.prefix, cut.columns
        keys.append(part.k[:, :, :new])
        values.append(part.v[:, :, :new])
        seen = real(part)[..., :new].expand(-1, columns.stop - columns.start, -1)
        valid.append(F.pad(seen, (0, 0, columns.start, length - columns.stop), value=False))
    known = real(value).expand(-1, length, -1)
    k, v = torch.cat([*keys, value.k], 2), torch.cat([*values, value.v], 2)
    return KV(k, v, k.size(2) - value.k.size(2) + value.prefix, torch.cat([*valid, known], -1))
