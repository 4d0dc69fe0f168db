"""Cells of the cube of architectures × methods × compositions: forward, backward, files. `make cube` runs them all."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pytest

from tests.helpers.cube import COMPOSITIONS, METHODS, Bench, Refused
from tests.helpers.cube_compiled import CompiledCube
from tests.helpers.tiny import DISTINCT, NAMES

DOC = Path(__file__).parents[2] / "docs" / "compositions.md"
PLACES = [(architecture, method) for architecture in DISTINCT for method in METHODS]
SOME = [(*place, COMPOSITIONS[number % len(COMPOSITIONS)]) for number, place in enumerate(PLACES)]
"""Each method on each architecture whose mathematics is its own, under one composition after the other."""

MEANINGLESS = {"Fuse", "Split", "Average", "nested"}
"""Compositions that some methods have no meaning under: they add positions, or must be inverted."""


@lru_cache(maxsize=1)
def bench(architecture: str) -> Bench:
    return Bench(architecture)


@pytest.mark.parametrize(("architecture", "method", "composition"), SOME)
def test_a_cell_holds(architecture: str, method: str, composition: str, tmp_path: Path) -> None:
    place = bench(architecture)
    place.take(method)
    result = place.run(composition, tmp_path)
    assert result is None or (isinstance(result, Refused) and composition in MEANINGLESS)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_composition_of_a_method_is_one_graph_and_none_is_compiled_twice(method: str) -> None:
    broken = {name: result for name, result in CompiledCube("bert", method).run().items() if "broken" in result}
    assert not broken


def test_the_document_tells_of_all_methods_and_compositions_and_of_nothing_broken() -> None:
    text = DOC.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert rows == METHODS * 2
    assert text.count(f"| | {' | '.join(COMPOSITIONS)} |") == 2
    count = len(NAMES) * len(METHODS) * len(COMPOSITIONS)
    assert f"{count:,} cells" in text
    assert "broken**" not in text
    assert " 0 are broken" in text
