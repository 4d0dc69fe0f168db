"""The blocks as values, under both names that they can be imported by, and as the peer writes them."""

from __future__ import annotations

import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapterzoo
from adapterzoo import Average, Fuse, Split, Stack, composition
from adapterzoo.core.block import BLOCKS, AdapterCompositionBlock
from tests.helpers.compositions import written

NAMES = ["a", "en.wiki", "näme"]
blocks = written(NAMES)


@given(block=blocks)
def test_every_block_survives_json_with_names_and_weights(block):
    again = AdapterCompositionBlock.from_dict(json.loads(json.dumps(block.to_dict())))
    assert again == block
    assert hash(again) == hash(block)
    assert again.to_dict() == block.to_dict()
    assert repr(again) == repr(block)


@given(first=blocks, second=blocks)
def test_blocks_are_equal_when_they_are_written_alike(first, second):
    alike = json.dumps(first.to_dict()) == json.dumps(second.to_dict())
    assert (first == second) == alike == (len({first, second}) == 1)


def test_blocks_of_other_lengths_sizes_weights_and_names_differ():
    different = [
        Stack("a"),
        Stack("a", "b"),
        Fuse("a", "b"),
        Fuse("a", "b", name="mix"),
        Average("a", "b"),
        Average("a", "b", weights=[1, 2]),
        Average("a", "b", weights=[1, 2], normalize_weights=False),
        Split("a", "b", splits=4),
        Split("a", "b", splits=[4, 5]),
    ]
    assert len(set(different)) == len(different)
    assert Fuse("a", Stack("c", "b")) == Fuse("a", Stack("c", "b"), name="a,b")
    assert Average("a", "b", weights=[2, 6]) == Average("a", "b", weights=[0.25, 0.75])


def test_each_block_is_the_same_thing_by_both_names():
    for name in BLOCKS:
        assert getattr(adapterzoo, name) is getattr(composition, name) is BLOCKS[name]
        assert name in adapterzoo.__all__ and name in composition.__all__
    assert composition.parse_composition is adapterzoo.parse_composition


def test_what_has_no_meaning_is_told_without_a_model():
    composition.validate_composition(Stack("a", Average("b", Split("c", "d", splits=2))))
    with pytest.raises(ValueError, match="needs at least one child"):
        composition.validate_composition(Average())


def test_the_peers_blocks_take_the_same_arguments():
    theirs = pytest.importorskip("adapters.composition", reason="the peer `adapters` is not installed")
    for name in BLOCKS:
        own, peers = (inspect.signature(getattr(module, name)).parameters for module in (composition, theirs))
        named = inspect.Parameter.KEYWORD_ONLY
        assert {n: p.default for n, p in own.items() if p.kind == named} == {
            n: p.default for n, p in peers.items() if p.kind == named
        }, name


def as_the_peers(theirs, block):
    """The same block of the peer's."""
    if isinstance(block, str):
        return block
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in block.options().items()}
    return getattr(theirs, type(block).__name__)(*(as_the_peers(theirs, child) for child in block), **options)


@given(data=st.data())
def test_the_peer_reads_our_json_and_we_read_its(data):
    theirs = pytest.importorskip("adapters.composition", reason="the peer `adapters` is not installed")
    block = data.draw(blocks)
    peers = as_the_peers(theirs, block)
    assert repr(peers) == repr(block)
    if "Fuse" not in str(block) and "Average" not in str(block):  # of which it forgets names and changes weights
        assert AdapterCompositionBlock.from_dict(peers.to_dict()) == block
        assert theirs.AdapterCompositionBlock.from_dict(block.to_dict()).to_dict() == peers.to_dict()
