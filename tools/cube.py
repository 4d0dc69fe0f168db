"""Runs the cube of architectures × methods × compositions and writes docs/compositions.md: `python -m tools.cube`."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from tqdm import tqdm

from tests.helpers.cube import COMPOSITIONS, METHODS, Bench, Cell, Refused
from tests.helpers.cube_compiled import CompiledCube
from tests.helpers.tiny import NAMES

DOC = Path(__file__).parent.parent / "docs" / "compositions.md"
HOLDS, BROKEN = "holds", "broken"
Results = dict[Cell, str]


def run(architecture: str) -> Results:
    """All cells of one architecture: "holds", "broken: …", or the reason why there is no such cell."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bench, results = Bench(architecture), {}
    for method in METHODS:
        bench.take(method)
        for composition in COMPOSITIONS:
            results[Cell(architecture, method, composition)] = _run(bench, composition)
    return results


def _run(bench: Bench, composition: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = bench.run(composition, Path(folder))
        except Exception as error:  # whatever goes wrong is this cell's result
            return f"{BROKEN}: {type(error).__name__}: {error}"
    return found.reason if isinstance(found, Refused) else HOLDS


def compiled(method: str) -> dict[tuple[str, str], str]:
    """Whether each composition of a method is one graph: "holds", "broken: …", or why there is no such composition."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return {(method, name): result for name, result in CompiledCube("bert", method).run().items()}


def table(rows: list[str], cells: dict[tuple[str, str], str]) -> Iterator[str]:
    """Methods by rows, compositions by columns."""
    yield f"| | {' | '.join(COMPOSITIONS)} |"
    yield f"|---|{':-:|' * len(COMPOSITIONS)}"
    for row in rows:
        yield f"| `{row}` | {' | '.join(cells[row, column] for column in COMPOSITIONS)} |"


def _cell(results: list[str]) -> str:
    """How many architectures a cell holds on; "–" where the composition has no meaning on any."""
    holds = results.count(HOLDS)
    broken = sum(result.startswith(BROKEN) for result in results)
    return f"**{broken} broken**" if broken else str(holds) if holds else "–"


def _reasons(results: Results) -> Iterator[str]:
    """Why cells have no meaning, each reason with how often it is given."""
    reasons: Counter[str] = Counter()
    for result in results.values():
        if result != HOLDS and not result.startswith(BROKEN):
            reasons[re.sub(r"^.*?\]: |'[^']*'", "", result).strip()] += 1
    for reason, count in reasons.most_common():
        yield f"- {reason} ({count} cells)"


def document(results: Results, graphs: dict[tuple[str, str], str]) -> str:
    """The text of docs/compositions.md."""
    by_place: dict[tuple[str, str], list[str]] = {}
    for cell, result in results.items():
        by_place.setdefault((cell.method, cell.composition), []).append(result)
    holds = sum(result == HOLDS for result in results.values())
    broken = sum(result.startswith(BROKEN) for result in results.values())
    whole = sum(result == HOLDS for result in graphs.values())
    torn = sum(result.startswith(BROKEN) for result in graphs.values())
    marks = {place: "●" if r == HOLDS else "**broken**" if r.startswith(BROKEN) else "–" for place, r in graphs.items()}
    lines = [
        "# Compositions",
        "",
        "Written by `make cube`. Each cell is a method under a composition; its number says on how many of the "
        f"{len(NAMES)} architectures it holds.",
        "A cell holds if, in doubles and within 1e-10,",
        "",
        "- forward: each row of a padded batch comes out as it does alone, without padding, under its own part of the "
        "composition;",
        "- backward: the gradients of every adapter's parameters are the sum of those of the rows alone;",
        "- save and load: another model that loads the saved setup computes the same bits.",
        "",
        "`Stack(a, b)`, `BatchSplit(a, b)`, … are of two adapters of the method with other weights; *nested* is "
        "`Stack(lora, BatchSplit(Average(a, b), Stack(b, seq_bn), Stack()))`.",
        "A dash stands where the composition has no meaning and is refused when it is set.",
        "",
        *table(METHODS, {place: _cell(found) for place, found in by_place.items()}),
        "",
        f"{len(results):,} cells ({len(NAMES)} architectures × {len(METHODS)} methods × {len(COMPOSITIONS)} "
        f"compositions): {holds:,} hold, {broken} are broken, {len(results) - holds - broken} are refused:",
        "",
        *_reasons(results),
        "",
        "## Compiled",
        "",
        "With `torch.compile(fullgraph=True)` on BERT: the compiled network computes the same, is one graph without a "
        "break, and going back to a setup that was seen compiles nothing.",
        "",
        *table(METHODS, marks),
        "",
        f"{len(graphs)} cells: {whole} are one graph, {torn} are not, {len(graphs) - whole - torn} are refused.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run all cells and write the document; what is broken is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    results: Results = {}
    graphs: dict[tuple[str, str], str] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for found in tqdm(pool.map(run, NAMES), total=len(NAMES), desc="architectures", disable=None):
            results |= found
        for whole in tqdm(pool.map(compiled, METHODS), total=len(METHODS), desc="compiled", disable=None):
            graphs |= whole
    DOC.write_text(document(results, graphs), encoding="utf-8")
    for cell, result in [*results.items(), *graphs.items()]:
        if result.startswith(BROKEN):
            print(*cell, result[:300], sep=" | ")


if __name__ == "__main__":
    main()
