"""The tables of docs/formats.md: what became of each row, on each route, for each architecture; written and read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from tests.helpers.matrix import CLOSE, REFUSED
from tests.helpers.real import ROOT
from tests.helpers.tiny import NAMES

PAGE = ROOT / "docs" / "formats.md"
MARK = "<!-- `make matrix` writes what follows -->\n"
ALL = "all"
WHY = (REFUSED, CLOSE)
"""How outcomes begin that give a reason, which stands below the table."""

Outcomes = Mapping[str, str]
"""What became of something, by architecture."""

Grid = Mapping[str, Mapping[str, Outcomes]]
"""A table: rows, in each its columns."""


def written(tables: Mapping[str, Grid]) -> str:
    """The tables by title, as Markdown."""
    return "\n".join(line for title, grid in tables.items() for line in _table(title, grid))


def _table(title: str, grid: Grid) -> Iterator[str]:
    columns = list(next(iter(grid.values())))
    yield from (f"### {title}", "", f"| | architectures | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns))
    reasons: list[str] = []
    for rows in _alike(grid):
        cells = [_cell(grid[rows[0]][column], reasons) for column in columns]
        there = _architectures(next(iter(grid[rows[0]].values())))
        yield f"| {', '.join(f'`{row}`' for row in rows)} | {there} | {' | '.join(cells)} |"
    yield ""
    yield from (f"{number}. {why}" for number, why in enumerate(reasons, 1))
    yield from [""] * bool(reasons)


def _alike(grid: Grid) -> list[list[str]]:
    """The rows of which the same became everywhere, together."""
    found: dict[str, list[str]] = {}
    for row, columns in grid.items():
        found.setdefault(repr(columns), []).append(row)
    return list(found.values())


def _architectures(outcomes: Outcomes) -> str:
    lost = [name for name in NAMES if name not in outcomes]
    if not lost:
        return ALL
    return ", ".join(outcomes) if len(outcomes) <= len(lost) else f"{ALL} but {', '.join(lost)}"


def _cell(outcomes: Outcomes, reasons: list[str]) -> str:
    """What is usual, and who has something else."""
    by_outcome: dict[str, list[str]] = {}
    for name, outcome in outcomes.items():
        by_outcome.setdefault(outcome, []).append(name)
    (usual, _), *others = sorted(by_outcome.items(), key=lambda pair: -len(pair[1]))
    told = [_short(usual, reasons)]
    return "; ".join([*told, *(f"{', '.join(names)}: {_short(outcome, reasons)}" for outcome, names in others)])


def _short(outcome: str, reasons: list[str]) -> str:
    """An outcome with its reason's number in place of the reason."""
    start = next((one for one in WHY if outcome.startswith(one)), None)
    if start is None:
        return outcome
    why = outcome.removeprefix(start)
    if why not in reasons:
        reasons.append(why)
    return f"{start.removesuffix(': ')} ({reasons.index(why) + 1})"


def read(text: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """The inverse of `written`."""
    parts = re.split(r"^### (.*)\n", text, flags=re.MULTILINE)[1:]
    return {title: _read_table(body) for title, body in zip(parts[::2], parts[1::2], strict=True)}


def _read_table(body: str) -> dict[str, dict[str, dict[str, str]]]:
    lines = [line[2:-2].split(" | ") for line in body.splitlines() if line.startswith("| ")]
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", body, flags=re.MULTILINE))
    (_, *columns), *rows = [[cell for cell in line if cell] for line in lines]
    found = {}
    for names, there, *cells in rows:
        each = {column: _read_cell(cell, there, reasons) for column, cell in zip(columns, cells, strict=True)}
        found |= {name: each for name in re.findall(r"`([^`]+)`", names)}
    return found


def _read_cell(cell: str, there: str, reasons: Mapping[str, str]) -> dict[str, str]:
    _, but, lost = there.partition(f"{ALL} but ")
    names = [name for name in NAMES if name not in lost.split(", ")] if but or there == ALL else there.split(", ")
    usual, *others = cell.split("; ")
    found = dict.fromkeys(names, usual)
    for other in others:
        some, outcome = other.split(": ")
        found |= dict.fromkeys(some.split(", "), outcome)
    return {name: _long(outcome, reasons) for name, outcome in found.items()}


def _long(outcome: str, reasons: Mapping[str, str]) -> str:
    match = re.fullmatch(r"(.+) \((\d+)\)", outcome)
    return outcome if match is None else f"{match[1]}: {reasons[match[2]]}"


def grid_of(found: Iterable[tuple[str, str, str, str]]) -> dict[str, dict[str, dict[str, str]]]:
    """A grid of single outcomes: row, column, architecture, what became of it."""
    grid: dict[str, dict[str, dict[str, str]]] = {}
    for row, column, name, outcome in found:
        grid.setdefault(row, {}).setdefault(column, {})[name] = outcome
    return grid
