"""Python's garbage collector while modules are imported."""

from __future__ import annotations

import gc

import pytest

from adapterzoo.core.collecting import paused


@pytest.fixture(autouse=True)
def collector():
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_within():
    with paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_turned_it_off_finds_it_off():
    gc.disable()
    with paused():
        pass
    assert not gc.isenabled()


def test_an_error_turns_it_on_again():
    with pytest.raises(ValueError, match="within"), paused():
        raise ValueError("within")
    assert gc.isenabled()


def test_what_was_made_within_is_old():
    with paused():
        made = [[] for _ in range(5_000)]
    old = {id(thing) for thing in gc.get_objects(generation=2)}
    assert {id(thing) for thing in made} <= old


def test_what_a_program_froze_stays_frozen():
    gc.collect()
    gc.freeze()
    frozen = gc.get_freeze_count()
    with paused():
        pass
    assert gc.get_freeze_count() == frozen > 0
