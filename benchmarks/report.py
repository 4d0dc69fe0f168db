"""docs/performance.md and its plots, made from what the rows measured."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.results import FOLDER, Result, Row
from benchmarks.rows import ROWS

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PAGE = FOLDER.with_suffix(".md")
HEAD = """# Performance

Made by `make bench`; do not edit. Each line compares two things that ran in turns (A B, B A, …) on the same weights
and inputs, in one process or in pairs of processes, and whose results were compared in the same run. A ratio is ours /
theirs, the median over the pairs, with the smallest and the largest beside it: the machine's speed drifts, so that
times alone say little. ✓ and ✗ say whether the target was reached. The numbers behind this page lie in
[performance/](performance).
"""


def write() -> None:
    """Write the page and the plots of all rows that were measured."""
    rows = [(name, FOLDER / f"{name}.json") for name in ROWS]
    parts = [HEAD, *(_section(Row.load(path)) for _, path in rows if path.exists())]
    missing = [name for name, path in rows if not path.exists()]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.\n")
    PAGE.write_text("\n".join(parts), "utf-8")
    print(f"wrote {PAGE}")


def _section(row: Row) -> str:
    module = importlib.import_module(f"benchmarks.rows.{row.name}")
    text = (module.__doc__ or "").strip()
    lines = [f"## {module.TITLE}", "", text, "", *_table(row.results)]
    for number, series in enumerate(row.series):
        image = _plot(series, FOLDER / f"{row.name}-{number}.png")
        lines += ["", f"![{series['title']}](performance/{image.name})"]
    notes = getattr(module, "NOTES", "").strip()
    return "\n".join([*lines, *(["", notes] if notes else []), "", f"*{_machine(row.machine)}*", ""])


def _machine(machine: dict[str, Any]) -> str:
    abilities = ", ".join(machine["abilities"]) or "no wide instructions"
    card = f"{machine['card']}; " if "card" in machine else ""
    return (
        f"{card}{machine['cpu']}, {machine['threads']} threads, {abilities}; "
        f"PyTorch {machine['torch']}, Python {machine['python']}"
    )


def _table(results: list[Result]) -> Iterator[str]:
    if not results:
        return
    yield "| what | beside | ratio | spread | target | ours | theirs | difference |"
    yield "|---|---|---|---|---|---|---|---|"
    for result in results:
        sign = "≥" if result.more_is_better else "≤"
        mark = {None: "", True: " ✓", False: " ✗"}[result.reached]
        target = "" if result.target is None else f"{sign} {result.target:.2f}{mark}"
        spread = f"{min(result.ratios):.2f} – {max(result.ratios):.2f}" if len(result.ratios) > 1 else ""
        difference = "" if result.difference is None else f"{result.difference:.0e}"
        note = f" ({result.note})" if result.note else ""
        yield (
            f"| {result.case}{note} | {result.peer} | **{result.ratio:.2f}** | {spread} | {target} | "
            f"{_number(result.ours)} {result.unit} | {_number(result.theirs)} {result.unit} | {difference} |"
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _plot(series: dict[str, Any], path: Path) -> Path:
    """One plot, both axes by powers of two where x is so."""
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for name, points in series["lines"].items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3, label=name)
    xs = [x for points in series["lines"].values() for x, _ in points]
    if max(xs) >= 16 * min(xs) > 0:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
    axes.set_title(series["title"], fontsize=10)
    axes.set_xlabel(series["x"])
    axes.set_ylabel(series["y"])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
