"""Key tables: a bijection between our tensor names and someone else's, written once and read both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

V = TypeVar("V")

_LAST = re.compile(r"(.*\.|)(weight|bias)")
_NUMBER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Row:
    """One line of a table. `{i}` stands for a layer's number, `{p}` for weight or bias.

    Attributes:
        theirs: their name, or several whose tensors, joined along dim 0, are our one tensor.
        ours: our name.
        aliases: other names under which the same tensor may come, too. AdapterHub's files are written with them,
            checkpoints without.
        turns: how many parts of ours take turns in theirs, head by head: the first head's rows of each part, then
            the second's. In ours, the parts are whole, one after the other.
    """

    theirs: str | tuple[str, ...]
    ours: str
    aliases: tuple[str, ...] = ()
    turns: int = 1

    @property
    def parts(self) -> tuple[str, ...]:
        """Their names, in the order in which they are joined."""
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs


class Target(NamedTuple):
    """Where a foreign tensor belongs: part `part` of `parts` of our tensor `ours`."""

    ours: str
    part: int
    parts: int
    alias: bool


class KeyMap:
    """A table of rows, checked to be a bijection when it is made.

    Raises:
        ValueError: two rows claim the same name.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        self._ours: dict[str, Row] = {}
        self._theirs: dict[str, tuple[Row, int, bool]] = {}
        self._turning = any(row.turns > 1 for row in self.rows)
        for row in self.rows:
            _claim(self._ours, row.ours, row)
            for part, name in enumerate(row.parts):
                _claim(self._theirs, name, (row, part, False))
            for name in row.aliases:
                _claim(self._theirs, name, (row, 0, True))

    def to_ours(self, theirs: str) -> Target | None:
        """Where their tensor `theirs` belongs; None where no row knows it."""
        for template, holes in _templates(theirs):
            if template in self._theirs:
                row, part, alias = self._theirs[template]
                return Target(_fill(row.ours, holes), part, len(row.parts), alias)
        return None

    def to_theirs(self, ours: str) -> tuple[str, ...] | None:
        """Their name or names for our tensor; None where no row knows it."""
        for template, holes in _templates(ours):
            if template in self._ours:
                return tuple(_fill(part, holes) for part in self._ours[template].parts)
        return None

    def aliases(self, ours: str) -> tuple[str, ...]:
        """Other names of theirs for our tensor."""
        for template, holes in _templates(ours):
            if template in self._ours:
                return tuple(_fill(alias, holes) for alias in self._ours[template].aliases)
        return ()

    def turns(self, ours: str) -> int:
        """How many parts of our tensor take turns in theirs."""
        if not self._turning:
            return 1
        return next((self._ours[name].turns for name, _ in _templates(ours) if name in self._ours), 1)


def _claim(table: dict[str, V], name: str, value: V) -> None:
    if name in table:
        raise ValueError(f"two rows of a key table claim {name!r}")
    table[name] = value


def _fill(template: str, holes: dict[str, str]) -> str:
    for hole, value in holes.items():
        template = template.replace(hole, value)
    return template


def _templates(key: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The templates that a key may stem from, the most literal first."""
    yield key, {}
    named = _LAST.fullmatch(key)
    number = _NUMBER.search(key)
    if named:
        yield f"{named[1]}{{p}}", {"{p}": named[2]}
    if number:
        hole = key[: number.start()] + ".{i}." + key[number.end() :]
        yield hole, {"{i}": number[1]}
        if named:
            yield f"{hole[: -len(named[2])]}{{p}}", {"{i}": number[1], "{p}": named[2]}
