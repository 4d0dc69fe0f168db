"""Converts every method's and head's adapters and every class's models there and back: `python -m tools.matrix`.

What becomes of them is written to docs/formats.md.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from tests.helpers.matrix import BROKEN, METHODS, Bench, heads
from tests.helpers.matrix_models import WHOLE, classes, outcomes, whole
from tests.helpers.matrix_page import MARK, PAGE, Grid, grid_of, written
from tests.helpers.tiny import NAMES

TABLES = (
    "Adapters",
    "Adapters without their model",
    "Heads beside adapters",
    "Models",
    "Models with all that they hold",
)


class Found(NamedTuple):
    """What became of something: the table, the row and the column where that stands, and the architecture."""

    table: str
    row: str
    column: str
    architecture: str
    outcome: str


def run(architecture: str) -> list[Found]:
    """All that there is to be found out about one architecture."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        return list(_found(architecture, Path(folder)))


def _found(architecture: str, folder: Path) -> Iterator[Found]:
    bench = Bench(architecture, folder / "bench")
    for table, with_model in zip(TABLES[:2], (True, False), strict=True):
        for method in METHODS:
            for route, outcome in bench.method(method, with_model).items():
                yield Found(table, method, route, architecture, outcome)
    for head in heads(bench.model):
        for route, outcome in bench.head(head).items():
            yield Found(TABLES[2], head, route, architecture, outcome)
    for row, name in classes(architecture).items():
        for route, outcome in outcomes(name, folder / name).items():
            yield Found(TABLES[3], row, route, architecture, outcome)
    everything = "adapters of all methods, a fusion, heads of all types"
    yield Found(TABLES[4], everything, WHOLE, architecture, whole(architecture, folder / "whole"))


def tables(found: list[Found]) -> dict[str, Grid]:
    """The tables by title."""
    return {title: grid_of(one[1:] for one in found if one.table == title) for title in TABLES}


def main() -> None:
    """Find all out and write the page; what is broken is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    found: list[Found] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for some in tqdm(pool.map(run, NAMES), total=len(NAMES), desc="architectures", disable=None):
            found += some
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(before + MARK + "\n" + written(tables(found)), encoding="utf-8")
    for one in found:
        if one.outcome.startswith(BROKEN):
            print(*one, sep=" | ")


if __name__ == "__main__":
    main()
