"""`python -m benchmarks.one ROW`: one row of the benchmark, in this process."""

from __future__ import annotations

import argparse
import importlib

from benchmarks.machine import described
from benchmarks.results import Row
from benchmarks.rows import ROWS


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one", description=__doc__)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    row = Row(args.row, described())
    importlib.import_module(f"benchmarks.rows.{args.row}").run(row, args.pairs)
    row.save()


if __name__ == "__main__":
    main()
