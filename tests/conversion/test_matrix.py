"""What goes into a format and comes back bit for bit, and what is refused: docs/formats.md tells it by this."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.conversion.drawing import drawn_inputs
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.real import ROOT
from tests.helpers.tiny import tiny_model

PAGE = ROOT / "docs" / "formats.md"
MARK = "<!-- below this line tests/conversion/test_matrix.py writes -->\n"
WAYS = {"adapterhub": "AdapterHub's files and back", "peft": "PEFT's files and back"}
EXACT = "exact"
SILENT = {"init_weights", "init_weights_seed", "dropout"}
"""Fields of which files need not tell: only new weights and training depend on them."""


def outcome(model: Any, to: str, folder: Path) -> str:
    """Write the adapter "a", read it, and say what became of it."""
    try:
        model.save_adapter(folder, "a", to=to)
    except ValueError as error:
        return f"refused: {reason(str(error))}"
    model.load_adapter(folder, load_as="b")
    first, second = (model.adapters[name] for name in ("a", "b"))
    mine, other = first.state_dict(), second.state_dict()
    same = mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
    said, read = first.config.to_dict(), second.config.to_dict()
    wrong = [key for key in said if key not in SILENT and said[key] != read.get(key)]
    if same and not wrong:
        return EXACT
    return (
        f"computes the same, {', '.join(wrong)} told otherwise" if computes_alike(model) else f"not the same: {wrong}"
    )


@torch.no_grad()
def computes_alike(model: Any) -> bool:
    """Whether "a" and "b" compute the same."""
    inputs, found = drawn_inputs(model), []
    for name in ("a", "b"):
        model.set_active_adapters(name)
        found.append(model(**inputs).last_hidden_state)
    return torch.allclose(*found, atol=1e-5)


def reason(text: str) -> str:
    """Why something is refused, as short as a table needs it."""
    text = " ".join(text.split())
    found = re.search(r"does \(([^()]*)\)", text)
    return (f"PEFT has no such method ({found[1]})" if found else text.partition(";")[0])[:200]


def table(folder: Path) -> tuple[str, list[str]]:
    """The table, and what in it should not be."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for architecture in sorted(ARCHITECTURES):
        model = tiny_model(architecture)
        for kind in CONFIGS:
            add_random(model, "a", CONFIGS[kind])
            for to in WAYS:
                became = outcome(model, to, folder / f"{architecture}-{kind}-{to}")
                found.setdefault((kind, to), {}).setdefault(became, []).append(architecture)
            for name in list(model.adapters):
                model.delete_adapter(name)
    wrong = [f"{kind}: {became}" for (kind, _), all_of in found.items() for became in all_of if "not the" in became]
    lines = [f"| method | {' | '.join(WAYS.values())} |", "|---|---|---|"]
    for kind in CONFIGS:
        lines.append(f"| `{kind}` | {' | '.join(cell(found[kind, to]) for to in WAYS)} |")
    return "\n".join(lines) + "\n", wrong


def cell(outcomes: dict[str, list[str]]) -> str:
    """One outcome for all architectures, or each with those that have it."""
    if len(outcomes) == 1:
        return next(iter(outcomes)).replace("|", "\\|")
    common = max(outcomes, key=lambda became: len(outcomes[became]))
    rest = [f"{', '.join(names)}: {became}" for became, names in outcomes.items() if became != common]
    return "; ".join([common, *rest]).replace("|", "\\|")


def test_the_page_tells_what_becomes_of_each_method_in_each_format(tmp_path: Path) -> None:
    made, wrong = table(tmp_path)
    assert not wrong, wrong
    before, _, told = PAGE.read_text(encoding="utf-8").partition(MARK)
    if told != made:
        PAGE.write_text(before + MARK + made, encoding="utf-8")
    assert told == made, "docs/formats.md was out of date; it is written anew: look at it, and commit it"
