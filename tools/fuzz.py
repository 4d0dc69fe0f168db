"""Gives every reader files with something wrong in them: `python -m tools.fuzz --count 10000 --seed 0`.

With `--report`, what became of each reader's inputs is written to docs/robustness.md as soon as it is known; the rows
of other readers stay.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm

from tests.helpers.fuzz.batches import Report, one, run
from tests.helpers.fuzz.every import EVERY

PAGE = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
MARK = "<!-- below this line tools/fuzz.py writes -->"
HEAD = ("reader", "inputs", "loaded", "refused", "defects", "peak MiB")
COLUMNS = ("reader", "inputs", "loaded", "refused", "defects", "crashes", "seconds", "peak MiB")


def row(name: str, report: Report) -> tuple[str, ...]:
    """One line of the table."""
    refused = ", ".join(f"{count} {kind}" for kind, count in report.refused.most_common())
    numbers = (report.inputs, report.loaded, refused or 0, len(report.defects), report.crashes)
    return (name, *map(str, numbers), f"{report.seconds:.0f}", str(report.memory >> 20))


def table(reports: dict[str, Report]) -> str:
    """What became of every reader's inputs."""
    rows = [COLUMNS, *(row(name, report) for name, report in reports.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in rows)


def report(page: Path, name: str, found: Report) -> None:
    """Write a reader's row to a page, in place of the one that it may have; the rows stay in the readers' order."""
    text, _, table_text = page.read_text(encoding="utf-8").partition(MARK)
    lines = [line for line in table_text.splitlines() if line.startswith("| ")][1:]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines}
    numbers = (found.inputs, found.loaded, sum(found.refused.values()), len(found.defects), found.memory >> 20)
    rows[name] = f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |"
    ordered = [rows[key] for key in EVERY if key in rows]
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}", *ordered]
    page.write_text(f"{text}{MARK}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def defects(name: str, report: Report) -> list[str]:
    """The kinds of defects of a reader, each with the number of one input that shows it."""
    count = Counter(outcome.verdict.detail for outcome in report.defects)
    first = {outcome.verdict.detail: outcome for outcome in reversed(report.defects)}
    return [f"{name} #{first[kind].number}: {n}× {kind} [{first[kind].what}]" for kind, n in count.most_common()]


def main() -> int:
    """Run, print the table and what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="inputs for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", choices=list(EVERY), help="only this one; may be given again")
    parser.add_argument("--report", action="store_true", help="write what was found to docs/robustness.md, too")
    parser.add_argument("--number", type=int, help="only the input of this number, in this process, with its traceback")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.reader or list(EVERY)
    if options.number is not None:
        for name in names:
            outcome = one(EVERY[name], name, options.seed, options.number)
            print(f"{name} #{outcome.number}: {outcome.what}", *outcome.verdict, sep="\n")
        return 0
    reports = {}
    with tqdm(total=options.count * len(names), unit="input", disable=None) as bar:
        for name in names:
            bar.set_description(name)
            reports[name] = run(EVERY[name], name, options.seed, options.count, bar.update)
            if options.report:
                report(PAGE, name, reports[name])
    print(table(reports))
    found = [line for name, report in reports.items() for line in defects(name, report)]
    print("", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
