"""Changes to JSON files that stay JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.helpers.fuzz.odd import ASTRAY, NAMES, like, odd_value

Place = tuple[Any, Any]
"""A list or mapping, and the index or key of one of its elements."""


def places(value: Any) -> Iterator[Place]:
    """Every place within a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from places(inner)


def _pick(data: Any, chance: Random) -> Place | None:
    """A place, as likely one of the outermost as one further in."""
    every, outer = list(places(data)), list(places(data) if not isinstance(data, dict) else ((data, k) for k in data))
    return chance.choice(chance.choice((every, outer))) if every else None


def replace(data: Any, chance: Random) -> Any:
    """A value of another kind."""
    if place := _pick(data, chance):
        place[0][place[1]] = odd_value(chance)
    return data


def vary(data: Any, chance: Random) -> Any:
    """A value of the same kind that is odd."""
    if place := _pick(data, chance):
        place[0][place[1]] = like(place[0][place[1]], chance)
    return data


def drop(data: Any, chance: Random) -> Any:
    """An entry is missing."""
    if place := _pick(data, chance):
        del place[0][place[1]]
    return data


def rename(data: Any, chance: Random) -> Any:
    """An entry under another name."""
    if (place := _pick(data, chance)) and isinstance(place[0], dict):
        place[0][chance.choice((*NAMES, f"{place[1]}x", *map(str, data)))] = place[0].pop(place[1])
    return data


def add(data: Any, chance: Random) -> Any:
    """An entry too many."""
    if place := _pick(data, chance):
        if isinstance(place[0], dict):
            place[0][chance.choice(NAMES)] = odd_value(chance)
        else:
            place[0].insert(place[1], odd_value(chance))
    return data


def swap(data: Any, chance: Random) -> Any:
    """Two values have changed places."""
    first, second = _pick(data, chance), _pick(data, chance)
    if first and second:
        one, other = copy.deepcopy(first[0][first[1]]), copy.deepcopy(second[0][second[1]])
        first[0][first[1]], second[0][second[1]] = other, one
    return data


def wrap(data: Any, chance: Random) -> Any:
    """A value within a list or mapping."""
    if place := _pick(data, chance):
        value = place[0][place[1]]
        place[0][place[1]] = chance.choice(([value], {"a": value}, [value, value], str(value)))
    return data


def empty(data: Any, chance: Random) -> Any:
    """Something else altogether."""
    return odd_value(chance)


def lead_astray(data: Any, chance: Random) -> Any:
    """A text, or a key, that as a path leads elsewhere."""
    found = [place for place in places(data) if isinstance(place[0][place[1]], str)]
    if not found:
        return data
    (inside, key), path = chance.choice(found), chance.choice(ASTRAY)
    if isinstance(inside, dict) and chance.random() < 0.3:
        inside[path] = inside.pop(key)
    else:
        inside[key] = chance.choice((path, f"{path}/{inside[key]}", f"../{inside[key]}", f"{inside[key]}/../x"))
    return data


ON_JSON = (replace, replace, vary, vary, vary, vary, drop, rename, add, swap, wrap, empty, lead_astray)


def mutate(text: str, chance: Random) -> str:
    """A JSON text with a change, or a key that is there twice."""
    data = json.loads(text)
    if isinstance(data, dict) and data and chance.random() < 0.05:
        key = chance.choice(list(data))
        return f"{{{json.dumps(key)}: {json.dumps(odd_value(chance))}, {text.lstrip()[1:]}"
    return json.dumps(chance.choice(ON_JSON)(data, chance))


def same_meaning(text: str, chance: Random) -> str:
    """The same in other words: indented, in another order, escaped."""
    data = json.loads(text)
    if isinstance(data, dict):
        data = {key: data[key] for key in chance.sample(list(data), len(data))}
    return json.dumps(data, indent=chance.choice((None, 1, 8)), ensure_ascii=chance.random() < 0.5) + "\n" * 3
