"""A layout says the same about a batch, packed or on the grid: everything is held against plain loops."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from adapterzoo.nn.layout import Layout
from tests.helpers.comparing import assert_close

WIDTH = 3


@st.composite
def masks(draw: st.DrawFn, first: bool = True) -> torch.Tensor:
    """(B, T) masks, padding anywhere in them; in each row the first token is there, or any one token is.

    Args:
        draw: hypothesis's.
        first: whether it is the first token.
    """
    rows, length = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    bits = draw(st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=rows, max_size=rows))
    mask = torch.tensor(bits)
    there = torch.zeros(rows).long() if first else torch.tensor(draw(_places(rows, length)))
    return mask | (torch.arange(length) == there[:, None])


def _places(rows: int, length: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, length - 1), min_size=rows, max_size=rows)


def layout_and_grid(mask: torch.Tensor, pack: bool) -> tuple[Layout, torch.Tensor]:
    """The layout for a mask, and random numbers on the grid, zeros at padding."""
    grid = torch.randn(*mask.shape, WIDTH, dtype=torch.float64) * mask[..., None]
    return Layout.of(*mask.shape, mask, pack), grid


@given(mask=masks(), pack=st.booleans())
def test_to_tokens_and_back_is_the_identity(mask, pack):
    layout, grid = layout_and_grid(mask, pack)
    tokens = layout.tokens(grid)
    assert torch.equal(layout.grid(tokens), grid)
    assert torch.equal(layout.tokens(layout.grid(tokens)), tokens)
    assert layout.packed == (pack and not bool(mask.all()))
    assert not layout.packed or torch.equal(tokens, grid[mask])


@given(mask=masks(first=False), pack=st.booleans())
def test_padding_on_the_left_keeps_the_grid(mask, pack):
    layout, grid = layout_and_grid(mask, pack)
    assert layout.packed == (pack and bool(mask[:, 0].all()) and not bool(mask.all()))
    assert torch.equal(layout.grid(layout.tokens(grid)), grid)


@given(mask=masks(), pack=st.booleans(), data=st.data())
def test_one_token_of_each_row(mask, pack, data):
    layout, grid = layout_and_grid(mask, pack)
    tokens = layout.tokens(grid)
    assert torch.equal(layout.first(tokens), grid[:, 0])
    at = [data.draw(st.sampled_from(row.nonzero().flatten().tolist())) for row in mask]
    expected = torch.stack([row[place] for row, place in zip(grid, at, strict=True)])
    assert torch.equal(layout.at(tokens, torch.tensor(at)), expected)


@given(mask=masks(), pack=st.booleans())
def test_means_of_rows_and_rows_spread_over_their_tokens(mask, pack):
    layout, grid = layout_and_grid(mask, pack)
    expected = torch.stack([row[there].mean(0) for row, there in zip(grid, mask, strict=True)])
    found = layout.mean(layout.tokens(grid))
    assert_close(found, expected)
    by_token = layout.spread(found)
    again = layout.grid(by_token.expand_as(layout.tokens(grid)))
    assert torch.equal(again[mask], found[:, None].expand_as(grid)[mask])


@given(mask=masks(), pack=st.booleans(), data=st.data())
def test_cuts_are_the_layouts_of_their_rows(mask, pack, data):
    layout, grid = layout_and_grid(mask, pack)
    tokens = layout.tokens(grid)
    check_cuts(layout, tokens, grid, mask, data, depth=2)


def check_cuts(layout, tokens, grid, mask, data, depth):
    """The cuts of a layout, and their own cuts."""
    ends = sorted(data.draw(st.lists(st.integers(0, len(grid)), max_size=3)))
    sizes = tuple(b - a for a, b in zip([0, *ends], [*ends, len(grid)], strict=True))
    cuts = layout.cuts(sizes)
    assert [cut.rows.stop - cut.rows.start for cut in cuts] == list(sizes)
    assert torch.equal(torch.cat([tokens[cut.tokens] for cut in cuts]), tokens)
    for cut in cuts:
        part, own = tokens[cut.tokens], cut.layout
        assert (own.rows, own.length, own.packed) == (len(grid[cut.rows]), layout.length, layout.packed)
        assert torch.equal(own.grid(part), grid[cut.rows])
        if own.rows:
            assert torch.equal(own.first(part), grid[cut.rows][:, 0])
            assert_close(own.mean(part), layout.mean(tokens)[cut.rows])
            spread = own.spread(grid[cut.rows][:, 0]).expand_as(part)
            assert torch.equal(spread, layout.spread(grid[:, 0]).expand_as(tokens)[cut.tokens])
            if depth > 1:
                check_cuts(own, part, grid[cut.rows], mask[cut.rows], data, depth - 1)


@given(mask=masks(), sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_groups_are_cut_like_any_sizes_and_must_add_up(mask, sizes):
    layout = Layout.of(*mask.shape, mask, True, tuple(sizes))
    if sum(sizes) == len(mask):
        assert [(cut.rows, cut.tokens) for cut in layout.cuts()] == [
            (cut.rows, cut.tokens) for cut in layout.cuts(tuple(sizes))
        ]
    else:
        for cut in (layout.cuts, lambda: layout.cuts(tuple(sizes))):
            try:
                cut()
            except ValueError as error:
                assert f"add up to {sum(sizes)}" in str(error)
            else:
                raise AssertionError("sizes that do not add up were taken")
