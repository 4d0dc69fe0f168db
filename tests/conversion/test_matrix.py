"""Files that are converted and come back: docs/formats.md tells what becomes of all; `make matrix` writes it.

Here is a sample: each method on two architectures, each type of head and of class on some.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from tests.helpers.adapting import same_bits
from tests.helpers.converting import PICKLE, tensors_in
from tests.helpers.every_class import CLASSES
from tests.helpers.matrix import CLOSE, EXACT, METHODS, REFUSED, ROUTES, Bench, heads
from tests.helpers.matrix_models import ROUTES as MODEL_ROUTES
from tests.helpers.matrix_models import classes, outcomes, pickled, whole
from tests.helpers.matrix_page import MARK, PAGE, read, written
from tests.helpers.tiny import NAMES, tiny_model
from tools.matrix import TABLES
from weights_conversion.cli import main

ADAPTERS, WITHOUT_MODEL, HEADS, MODELS, WHOLE = TABLES
PLACES = list(enumerate(NAMES))


def text() -> str:
    """What `make matrix` wrote."""
    return PAGE.read_text(encoding="utf-8").partition(MARK)[2]


@cache
def tables() -> dict[str, Any]:
    return read(text())


def told(table: str, row: str, architecture: str) -> dict[str, str]:
    """What the page says of a row, by route."""
    return {route: outcome[architecture] for route, outcome in tables()[table][row].items()}


def some(rows: list[str], index: int, count: int) -> list[str]:
    """Some rows for the architecture of that number, others for the next; all are taken by one or two."""
    return [row for number, row in enumerate(rows) if (number - index) % len(NAMES) in range(0, 6 * count, 6)]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file need outlive a crash here, and to wait for the disk takes a third of the time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.mark.parametrize(("index", "architecture"), PLACES, ids=NAMES)
def test_adapters(index: int, architecture: str, tmp_path: Path) -> None:
    bench = Bench(architecture, tmp_path)
    for method in some(list(METHODS), index, 2):
        assert bench.method(method) == told(ADAPTERS, method, architecture), method


@pytest.mark.parametrize(("index", "architecture"), PLACES, ids=NAMES)
def test_adapters_without_their_model(index: int, architecture: str, tmp_path: Path) -> None:
    bench = Bench(architecture, tmp_path)
    for method in some(list(METHODS)[::2], index, 1):
        assert bench.method(method, with_model=False) == told(WITHOUT_MODEL, method, architecture), method


@pytest.mark.parametrize(("index", "architecture"), PLACES, ids=NAMES)
def test_heads_beside_adapters(index: int, architecture: str, tmp_path: Path) -> None:
    bench = Bench(architecture, tmp_path)
    for head in some(list(heads(bench.model)), index, 2):
        assert bench.head(head) == told(HEADS, head, architecture), head


@pytest.mark.parametrize(("index", "architecture"), PLACES, ids=NAMES)
def test_models(index: int, architecture: str, tmp_path: Path) -> None:
    every = classes(architecture)
    for row in {list(every)[index % len(every)], list(every)[-index % len(every)]}:
        assert outcomes(every[row], tmp_path / row, every=False) == told(MODELS, row, architecture), row


@pytest.mark.parametrize("architecture", NAMES[::4])
def test_models_with_all_that_they_hold(architecture: str, tmp_path: Path) -> None:
    ((row, _),) = tables()[WHOLE].items()
    assert [whole(architecture, tmp_path)] == list(told(WHOLE, row, architecture).values())


def test_the_page_tells_of_all_and_of_nothing_broken() -> None:
    assert list(tables()) == list(TABLES)
    for table in (ADAPTERS, WITHOUT_MODEL):
        assert sorted(tables()[table]) == sorted(METHODS)
    for name in NAMES:
        rows = {HEADS: heads(tiny_model(name)), MODELS: classes(name)}
        there = {table: [row for row, routes in tables()[table].items() if name in _any(routes)] for table in rows}
        assert {table: sorted(found) for table, found in there.items()} == {key: sorted(rows[key]) for key in rows}
    assert sum(len(classes(name)) for name in NAMES) == len(CLASSES)
    for table, rows in tables().items():
        columns = {MODELS: list(MODEL_ROUTES), WHOLE: list(_any(tables()[WHOLE]))}.get(table, list(ROUTES))
        for row, routes in rows.items():
            assert list(routes) == columns
            if table not in (HEADS, MODELS):
                assert all(list(outcome) == NAMES for outcome in routes.values()), row
    assert "broken" not in text()


def _any(values: dict[str, Any]) -> Any:
    return next(iter(values.values()))


def test_each_outcome_is_exact_or_has_a_reason() -> None:
    said = {
        outcome
        for rows in tables().values()
        for routes in rows.values()
        for one in routes.values()
        for outcome in one.values()
    }
    assert all(outcome == EXACT or (outcome.startswith((REFUSED, CLOSE)) and len(outcome) > 20) for outcome in said)
    lossless = [one for table in TABLES for routes in tables()[table].values() for one in (_any(routes),)]
    assert all(set(one.values()) == {EXACT} for one in lossless), "each format comes back exactly from itself"


def test_the_page_is_read_as_it_was_written() -> None:
    assert "\n" + written(tables()) == text()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", NAMES)
def test_pytorchs_file_at_the_command_line(architecture: str, tmp_path: Path) -> None:
    """There another process reads it."""
    tiny_model(architecture, "Model").save_pretrained(tmp_path / "a")
    pickled(tmp_path / "a", tmp_path / "b")
    assert main(["convert", str(tmp_path / "b"), str(tmp_path / "c"), PICKLE, "-q"]) == 0
    before = safetensors.torch.load_file(tmp_path / "a" / "model.safetensors")
    assert same_bits(dict(sorted(before.items())), dict(sorted(tensors_in(tmp_path / "c").items())))
