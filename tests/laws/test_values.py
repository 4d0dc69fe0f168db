"""Compositions, names and config strings are values: they survive every round trip."""

from __future__ import annotations

import copy
import json
import keyword
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adapterzoo import BatchSplit, Stack, parse_composition
from adapterzoo.core.compose import AdapterCompositionBlock, names_in
from adapterzoo.core.registry import NamedModules
from adapterzoo.methods import PRESETS
from adapterzoo.methods.base import resolve_config
from adapterzoo.methods.strings import parse_config_string
from adapterzoo.pool import AdapterPool
from tests.helpers.adapting import CONFIGS
from tests.helpers.alone import names_by_row
from tests.helpers.compositions import setups
from tests.helpers.naming import names

ROWS = 5
any_setup = setups(["a", "b", "c"], ROWS)
blocks = any_setup.filter(lambda setup: isinstance(setup, AdapterCompositionBlock))


@given(setup=setups(["a", "en.wiki", "näme"], ROWS).filter(lambda setup: not isinstance(setup, str)))
def test_a_composition_survives_json(setup):
    data = json.loads(json.dumps(setup.to_dict()))
    assert AdapterCompositionBlock.from_dict(data) == setup
    assert AdapterCompositionBlock.from_dict(data).to_dict() == setup.to_dict()


@given(setup=any_setup)
def test_a_composition_survives_copying_and_pickling(setup):
    assert copy.deepcopy(setup) == copy.copy(setup) == pickle.loads(pickle.dumps(setup)) == setup


@given(first=any_setup, second=any_setup)
def test_compositions_are_equal_when_they_are_written_alike(first, second):
    alike = _written(first) == _written(second)
    assert (first == second) == (second == first) == alike
    assert not alike or hash(first) == hash(second)
    assert len({first, second}) == (1 if alike else 2)


def _written(setup):
    return setup if isinstance(setup, str) else json.dumps(setup.to_dict(), sort_keys=True)


@given(setup=blocks)
def test_parsing_a_block_gives_the_block_and_all_names_are_found(setup):
    assert parse_composition(setup) is setup
    assert set(names_in(setup)) == setup.flatten()
    assert setup.flatten() >= {name for row in names_by_row(setup, ROWS) for name in row}


@given(setup=blocks)
def test_a_block_cannot_be_changed(setup):
    for name in ("children", "batch_sizes", "anything"):
        with pytest.raises(AttributeError, match="values"):
            setattr(setup, name, ())


def test_kinds_numbers_and_order_of_children_tell_blocks_apart():
    different = [
        Stack(),
        Stack("a"),
        Stack("a", "b"),
        Stack("b", "a"),
        Stack(Stack("a"), "b"),
        BatchSplit("a", "b", batch_sizes=1),
        BatchSplit("a", "b", batch_sizes=[1, 2]),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("kind", [NamedModules, AdapterPool])
@given(name=names, other=names)
def test_any_name_becomes_a_module_name_and_back(kind, name, other):
    slug = kind.slug(name)
    assert kind.unslug(slug) == name
    assert (kind.slug(other) == slug) == (other == name)
    assert "." not in slug and "/" not in slug


@given(chosen=st.lists(names, unique=True, max_size=6))
def test_a_container_keeps_any_names_in_their_order(chosen):
    modules: NamedModules[nn.Module] = NamedModules("thing")
    kept = [nn.Linear(1, 1) for _ in chosen]
    for name, module in zip(chosen, kept, strict=True):
        assert name not in modules
        modules[name] = module
    assert list(modules) == chosen
    assert [module for _, module in modules.items()] == kept
    assert all(modules[name] is module for name, module in zip(chosen, kept, strict=True))
    assert len(list(modules.parameters())) == 2 * len(chosen)
    twin: NamedModules[nn.Module] = NamedModules("thing")
    for name in chosen:
        twin[name] = nn.Linear(1, 1)
    twin.load_state_dict(modules.state_dict())
    for name in chosen:
        del modules[name]
    assert not len(modules) and not list(modules.parameters())


keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda key: not keyword.iskeyword(key))
atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
literals = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
)


@given(name=keys, values=st.dictionaries(keys, literals, max_size=4), gap=st.sampled_from(["", " ", "  "]))
def test_a_config_string_gives_back_what_was_written(name, values, gap):
    inside = f",{gap}".join(f"{key}{gap}={gap}{value!r}" for key, value in values.items())
    assert parse_config_string(f"{gap}{name}[{inside}]{gap}") == (name, values)


@given(text=st.text(max_size=20) | st.from_regex(r"[a-z]{1,4}\[[ -~]{0,16}\]", fullmatch=True))
def test_any_text_is_a_config_string_or_a_value_error(text):
    try:
        name, values = parse_config_string(text)
    except ValueError as error:
        assert "config string" in str(error)
    else:
        assert isinstance(name, str) and all(isinstance(key, str) for key in values)


def written(config):
    """A config as a string with all its fields."""
    base = next(known for known, preset in PRESETS.items() if type(config) is type(preset))
    plain = {key: list(v) if isinstance(v := config[key], tuple) else v for key in config}
    return f"{base}[{', '.join(f'{key}={value!r}' for key, value in plain.items())}]"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_written_as_a_string_is_that_config(name):
    config = CONFIGS[name]
    text = " | ".join(map(written, getattr(config, "configs", [config])))
    assert resolve_config(text) == config
    assert resolve_config(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(resolve_config(text)) == hash(config)
