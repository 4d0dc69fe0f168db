"""`python -m benchmarks [ROW …] [--pairs 7]`: measure rows beside the peers, each in a process of its own.

Every row writes docs/performance/<row>.json; then docs/performance.md and its plots are made anew from all of these.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks import report
from benchmarks.rows import ROWS


def main() -> None:
    """Run rows, then write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)}; all if none is named")
    parser.add_argument("--pairs", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report")
    args = parser.parse_args()
    wrong = [name for name in args.rows if name not in ROWS]
    if wrong:
        parser.error(f"no row named {', '.join(wrong)}; there are {', '.join(ROWS)}")
    failed = []
    for name in () if args.report else args.rows or ROWS:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", "benchmarks.one", name, "--pairs", str(args.pairs)]
        if subprocess.run(command).returncode:
            failed.append(name)
    report.write()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
