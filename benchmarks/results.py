"""What a benchmark finds: pairwise ratios, with the equality that was checked beside them; kept as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "docs" / "performance"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One comparison.

    Attributes:
        case: what was measured: "MRPC, MiniLM".
        peer: what it is compared with: "transformers 4.57.6", "bare GEMMs", "our bare encoder".
        ours, theirs: medians, in `unit`.
        ratios: ours / theirs for each pair of turns; lower is better. Of one number only, where turns make no sense.
        unit: "ms", "s", "MB", "tokens/s" …
        target: what the median ratio should be at most (at least, with `more_is_better`); None: reported only.
        more_is_better: whether a larger ratio is better (tokens a second).
        difference: the largest difference of results between the two, in the same run.
        tolerance: what the difference may be.
        note: anything that a reader must know.
    """

    case: str
    peer: str
    ours: float
    theirs: float
    ratios: tuple[float, ...]
    unit: str = "ms"
    target: float | None = None
    more_is_better: bool = False
    difference: float | None = None
    tolerance: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.difference is not None and self.tolerance is not None and not self.difference <= self.tolerance:
            raise AssertionError(f"{self.case}: results differ from {self.peer}'s by {self.difference:.2e}")

    @property
    def ratio(self) -> float:
        """The median of the pairwise ratios."""
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.more_is_better else self.ratio <= self.target

    def line(self) -> str:
        """For the terminal."""
        mark = {None: " ", True: "✓", False: "✗"}[self.reached]
        sign = "≥" if self.more_is_better else "≤"
        goal = "" if self.target is None else f" (target {sign} {self.target:.2f})"
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        times = f"{self.ours:.4g} against {self.theirs:.4g} {self.unit}"
        return f"{mark} {self.case}: {self.ratio:.2f} of {self.peer}{goal}, {spread}; {times} {self.note}"


@dataclass
class Row:
    """All comparisons of one row of the benchmark, and series for its plots.

    Attributes:
        name: the module's name in `benchmarks.rows`.
        machine: what it ran on.
        results: the comparisons.
        series: for plots: title, what the axes say, and the lines by their names: [[x, y], …].
    """

    name: str
    machine: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Keep a comparison and print it."""
        self.results.append(result)
        print(result.line(), flush=True)

    def add_series(self, title: str, x: str, y: str, lines: dict[str, list[tuple[float, float]]]) -> None:
        """Keep what a plot is drawn from."""
        self.series.append({"title": title, "x": x, "y": y, "lines": lines})

    def save(self, folder: Path = FOLDER) -> None:
        """Write it to its own JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        results = [asdict(replace(result, ratios=tuple(round(r, 4) for r in result.ratios))) for result in self.results]
        data = {"row": self.name, "machine": self.machine, "results": results, "series": self.series}
        (folder / f"{self.name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")

    @staticmethod
    def load(path: Path) -> Row:
        """Read what `save` wrote."""
        data = json.loads(path.read_text("utf-8"))
        results = [Result(**{**entry, "ratios": tuple(entry["ratios"])}) for entry in data["results"]]
        return Row(data["row"], data["machine"], results, data["series"])
